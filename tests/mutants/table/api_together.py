"""What two parts of the API promise together: entries, routes of connections, gateways, policies, scopes, names."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

L4 = "tests/unit/compile/test_l4_routes.py"
L4_ENTRIES = "tests/unit/compile/test_l4_entries.py"
NAMES = "tests/unit/compile/test_names.py"
OTHERS = "tests/unit/compile/test_others.py"
GATEWAY = "tests/unit/compile/gateway"
ROOM = "agent/tidegate/compile"

GROUPS: tuple[Group, ...] = (
    Group(
        "routes of connections and hosts of ServiceEntries know each other",
        (
            Mutant(
                "entry-of-tls-is-tcp",
                "tls routes of a ServiceEntry's HTTPS port have no effect",
                "agent/tidegate/config/protocols.py",
                '    "https": Protocol.TLS,\n',
                '    "https": Protocol.TCP,\n',
                (L4_ENTRIES,),
            ),
            Mutant(
                "pools-without-weights",
                "weights of written endpoints are lost where a route leads to them",
                f"{ROOM}/l4/pools.py",
                "L4Endpoint(address, target, member.weight, other=other)",
                "L4Endpoint(address, target, other=other)",
                (L4_ENTRIES,),
            ),
            Mutant(
                "wildcard-entry-has-no-routes",
                "a rule for one name below a wildcard entry has no effect on connections",
                f"{ROOM}/l4/routes.py",
                '    known = rules.owners_under(host) if host.startswith("*") else rules.owners(host)\n',
                "    known = rules.owners(host)\n",
                (L4_ENTRIES,),
            ),
        ),
    ),
    Group(
        "what a pod may see holds for connections, names and configuration of others",
        (
            Mutant(
                "connections-see-every-rule",
                "a Sidecar does not hide tcp routes",
                f"{ROOM}/l4/routes.py",
                "        if not rules.sees(source, vs, port.port):\n",
                "        if not vs.visible_from(source.namespace):\n",
                (L4,),
            ),
            Mutant(
                "led-to-by-http-only",
                "where an imported tcp route leads is unknown to the pod",
                "agent/tidegate/model/routing.py",
                "        for connections in (*self.tcp, *self.tls):\n",
                "        for connections in ():\n",
                (L4,),
            ),
            Mutant(
                "selected-clients-share-a-pool",
                "a DestinationRule with a workloadSelector does nothing on TCP ports",
                f"{ROOM}/l4/pools.py",
                '    return "" if scope == service.id.namespace else scope\n',
                '    return ""\n',
                (L4,),
            ),
            Mutant(
                "names-are-everybodys",
                "the node's DNS tells a host that is not exported to the pod, or that its Sidecar hides",
                f"{ROOM}/names.py",
                "    if len(seen) == len(views):\n",
                "    if seen or not seen:\n",
                (NAMES,),
            ),
            Mutant(
                "ranges-are-answers",
                "a name of a host with a range resolves to hundreds of addresses",
                f"{ROOM}/names.py",
                "    ranges = service.external.ranges if service.external else ()\n",
                "    ranges: tuple[IPNetwork, ...] = ()\n",
                (NAMES,),
            ),
            Mutant(
                "others-see-everything",
                "an Envoy of somebody else gets services that its Sidecar does not import",
                f"{ROOM}/others/view.py",
                "        return sees_service(self.read, self.source, service, number)\n",
                "        return True\n",
                (OTHERS,),
            ),
            Mutant(
                "keys-for-strangers",
                "whoever says that he is a gateway gets its certificates and keys",
                f"{ROOM}/others/served.py",
                "Materials(by_path=True), known=client.known, ours=False)",
                "Materials(by_path=True), known=True, ours=False)",
                (OTHERS,),
            ),
        ),
    ),
    Group(
        "a gateway is a client like others",
        (
            Mutant(
                "gateway-sends-to-itself",
                "requests for a host with resolution: NONE come back to the gateway",
                f"{ROOM}/gateway/routes.py",
                " or found.as_dialled)\n",
                ")\n",
                (f"{GATEWAY}/test_gateway_entries.py",),
            ),
            Mutant(
                "gateway-forgets-delegates",
                "routes that a VirtualService delegates are not served at a gateway",
                f"{ROOM}/gateway/compiler.py",
                "    known = {id(vs): vs for group in facts.virtual_services.values() for vs in group}\n",
                "    known = {id(vs): vs for vs in facts.mesh.virtual_services}\n",
                (f"{GATEWAY}/test_gateway_policies.py",),
            ),
            Mutant(
                "gateway-without-credential",
                "credentialName of a DestinationRule has no effect at a gateway",
                f"{ROOM}/gateway/compiler.py",
                "cluster(registry, rules, key, credentials=True, of_pods=ours, own=OWN)",
                "cluster(registry, rules, key, credentials=False, of_pods=ours, own=OWN)",
                (f"{GATEWAY}/test_gateway_policies.py",),
            ),
            Mutant(
                "gateway-gets-patches-of-pods",
                "an EnvoyFilter for pods changes a gateway, and one for gateways does not",
                f"{ROOM}/gateway/patched.py",
                "selection.of(source, Context.GATEWAY)",
                "selection.of(source, Context.SIDECAR_OUTBOUND)",
                (f"{GATEWAY}/test_gateway_filters.py",),
            ),
        ),
    ),
)
