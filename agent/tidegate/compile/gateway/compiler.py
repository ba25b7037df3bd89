"""compile_gateway: facts -> everything that the Envoy of a gateway workload needs. Pure and deterministic.

The table of contents of this room: ports (which server has which) -> listeners (with tls) -> routes; clusters and their
endpoints are those of pods (compile/envoy/clusters.py), made when Envoy is led to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints, follows_client, settings_of
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.secrets import hosts_of_identities, secrets, tls_of
from tidegate.compile.envoy.upstream_tls import CREDENTIAL
from tidegate.compile.facts import Facts
from tidegate.compile.gateway.http import in_lower_case
from tidegate.compile.gateway.listeners import Around, Made, make_listeners
from tidegate.compile.gateway.patched import GatewayPatches, patches_at
from tidegate.compile.gateway.ports import GatewayPort, LeftOut, gateways_of, ports_of
from tidegate.compile.gateway.routes import GatewayRoutes, RulesByGateway, by_gateway
from tidegate.compile.gateway.shown import RulesAtGateway, ShownAtGateway, rules_at_gateway, shown_at_gateway
from tidegate.compile.gateway.tls import Materials, MissingMaterialError, secret_for
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.envoy_filter import Patch
from tidegate.model.gateway import Gateway, GatewayWorkload, ServerTlsMode
from tidegate.model.identity import OWN, is_of_the_mesh
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    EnvoyResource,
    MadeOnDemand,
    Resources,
    overlaid,
)
from tidegate.model.secret import AUTHORITIES_OF
from tidegate.model.traffic import Tunnel

_NAMES_SECRETS = "DestinationRule"  # the kind of rule by which clusters begin TLS


@dataclass(frozen=True, slots=True)
class Lacking:
    """A secret by which clusters begin TLS (credentialName) and that is not there: nothing gets to their servers."""

    credential: str  # name of the Secret; empty: the certificate of the mesh
    why: str
    clusters: tuple[str, ...]
    origins: tuple[Origin, ...]  # of the rules that name it

    @property
    def consequence(self) -> str:
        """What becomes of requests."""
        hosts = dict.fromkeys(key.fqdn for name in self.clusters if (key := ClusterKey.parse(name)))
        return f"{self.why}: nothing is sent to {', '.join(hosts)}, requests get 503"


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """One frozen image of what a gateway workload should be."""

    gateways: tuple[Gateway, ...] = ()  # the oldest first
    ports: tuple[GatewayPort, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    lacking: Sequence[Lacking] = ()
    failures: Sequence[tuple[Patch, str]] = ()  # patches of EnvoyFilters that could not be applied so far, and why
    asks_for_identity: bool = False  # whether something needs the certificate of the mesh
    shown: ShownAtGateway = field(default_factory=ShownAtGateway)  # what Envoy is asked about each patch
    rules: RulesAtGateway = field(default_factory=RulesAtGateway)  # and about each rule
    envoy: Resources = field(default_factory=dict)

    def judged(self) -> Resources:
        """What Envoy is told: what it serves, and each patch and rule by itself, for it to judge."""
        clusters = overlaid(self.envoy[CLUSTERS], self.shown.clusters)
        listeners = {**self.envoy[LISTENERS], **self.shown.listeners, **self.rules.listeners}
        return {**self.envoy, LISTENERS: listeners, CLUSTERS: clusters, CHECKS: self.rules.tables}

    def failures_told(self) -> list[tuple[str, str, str]]:
        """What could not be applied, why, and from where."""
        return [(patch.title, why, str(patch.origin)) for patch, why in self.failures]


def compile_gateway(
    facts: Facts,
    workload: GatewayWorkload,
    files: Materials | None = None,
    *,
    known: bool = True,
    ours: bool = True,
    asked: GatewayPlan | None = None,
) -> GatewayPlan:
    """What must be true at this workload.

    files: what stands in files that Gateways name. known: whether who asks is known to be that workload; nobody else
    gets what is in its namespace's Secrets. ours: whether its certificate of the mesh comes from us, and not from files
    of its container. asked: the plan before, by which its Envoy was asked about patches and rules; None if nobody is.
    """
    ports, left_out = ports_of(facts, workload)
    own = {s.name: s for s in facts.mesh.secrets if known and s.namespace == workload.namespace}
    materials = replace(files or Materials(), secrets=own, trust_domains=facts.mesh.config.trust_domains)
    registry, rules, visible = Registry(facts.read), Rules(facts.read), visible_rules(facts, workload)
    compiler = GatewayRoutes(registry, rules, visible, workload)

    def tunnel_of(key: ClusterKey) -> Tunnel | None:
        return settings_of(registry, rules, key).tunnel

    made = make_listeners(ports, Around(workload, materials, visible, compiler.cluster_key, tunnel_of))
    patches = patches_at(facts, workload, ports)
    listeners = {port.name: port for port in ports}
    bases = [(plain, patches.base(listeners[name])) for name, plain in made.listeners.items()]
    made.listeners.update({name: patches.listener(r, listeners[name]) for name, r in made.listeners.items()})
    routes = {
        name: patches.routes(compiler.compile(name, port, servers), port, servers)
        for name, (port, servers) in made.routes.items()
    }
    lacking: list[Lacking] = []
    gateways = tuple(gateways_of(facts, workload))
    nothing = GatewayPlan()
    return GatewayPlan(
        gateways=gateways,
        ports=tuple(ports),
        left_out=(*left_out, *made.left_out),
        envoy=_resources(facts, made, routes, materials, patches, lacking, ours=ours),
        lacking=lacking,
        failures=patches.failures,
        asks_for_identity=_asks_for_identity(facts, ports),
        shown=shown_at_gateway(patches.every, patches.names, bases, asked.shown) if asked else nothing.shown,
        rules=rules_at_gateway(facts.mesh, workload, gateways, asked.rules) if asked else nothing.rules,
    )


def _asks_for_identity(facts: Facts, ports: Sequence[GatewayPort]) -> bool:
    servers = (served.server for port in ports for served in port.servers)
    ended = any(server.tls is not None and server.tls.mode is ServerTlsMode.ISTIO_MUTUAL for server in servers)
    return ended or bool(hosts_of_identities(facts.mesh.destination_rules))


def visible_rules(facts: Facts, workload: GatewayWorkload) -> RulesByGateway:
    """VirtualServices that exportTo shows to the workload, with the routes of those that they delegate to."""
    default = facts.mesh.config.virtual_services_to
    known = {id(vs): vs for group in facts.virtual_services.values() for vs in group}
    found = (vs for vs in known.values() if vs.visible_from(workload.namespace, default))
    return by_gateway(sorted(found, key=lambda vs: (vs.age, vs.name, vs.namespace)))


def _resources(
    facts: Facts,
    made: Made,
    routes: dict[str, EnvoyResource],
    materials: Materials,
    patches: GatewayPatches,
    lacking: list[Lacking],
    *,
    ours: bool,
) -> Resources:
    registry, rules = Registry(facts.read), Rules(facts.read)
    used = {name for resource in (*made.listeners.values(), *routes.values()) for name in resource.needs(CLUSTERS)}
    added = patches.added()

    def by_key(make: Callable[[Registry, Rules, ClusterKey], EnvoyResource | None]) -> MadeOnDemand:
        def one(name: str) -> EnvoyResource | None:
            key = ClusterKey.parse(name)
            if key is None and make is not endpoints:
                return added.get(name)
            return make(registry, rules, key) if key else None

        return MadeOnDemand(one, lambda: used)

    def own_cluster(registry: Registry, rules: Rules, key: ClusterKey) -> EnvoyResource | None:
        found = _own_cluster(registry, rules, key, ours=ours)
        return None if found is None else patches.cluster(found, key)

    clusters = by_key(own_cluster)
    return {
        LISTENERS: made.listeners,
        SCOPES: {},
        ROUTES: _on_demand(routes),
        CLUSTERS: clusters,
        ENDPOINTS: by_key(endpoints),
        SECRETS: {**_secrets(facts, clusters, materials, lacking), **made.secrets},
        CHECKS: {},
    }


def _on_demand(resources: dict[str, EnvoyResource]) -> MadeOnDemand:
    return MadeOnDemand(resources.get, lambda: resources)


def _secrets(
    facts: Facts, clusters: MadeOnDemand, materials: Materials, lacking: list[Lacking]
) -> dict[str, EnvoyResource]:
    """Those by which clusters begin TLS: files of this workload, and Secrets of its namespace. What is not there gets
    into lacking."""
    if not any(tls.originates for rule in facts.mesh.destination_rules for tls in tls_of(rule)):
        return {}
    users: dict[str, list[EnvoyResource]] = {}
    for resource in clusters.values():
        for name in resource.needs(SECRETS):
            users.setdefault(name, []).append(resource)
    files, found = secrets(facts.read), {}
    missed: dict[str, tuple[dict[str, None], list[EnvoyResource]]] = {}
    for name, those in sorted(users.items()):
        try:
            found[name] = files.get(name) or secret_for(name, materials)
        except MissingMaterialError as missing:
            own = is_of_the_mesh(name)
            credential = "" if own else name.removeprefix(CREDENTIAL).removesuffix(AUTHORITIES_OF)
            why, concerned = missed.setdefault(credential, ({}, []))
            why[str(missing)] = None
            concerned += those
    lacking += [_lacking(credential, "; ".join(why), those) for credential, (why, those) in missed.items()]
    return found


def _lacking(credential: str, why: str, users: Sequence[EnvoyResource]) -> Lacking:
    rules = dict.fromkeys(origin for user in users for origin in user.origins if origin.kind == _NAMES_SECRETS)
    return Lacking(credential, why, tuple(dict.fromkeys(user.name for user in users)), tuple(rules))


def _own_cluster(registry: Registry, rules: Rules, key: ClusterKey, *, ours: bool) -> EnvoyResource | None:
    found = cluster(registry, rules, key, credentials=True, of_pods=ours, own=OWN)
    service = registry.services.get(key.fqdn)
    follows = service is not None and follows_client(rules, service, key)
    return None if found is None else _of_this_workload(found, follows)


def _of_this_workload(resource: EnvoyResource, follows: bool) -> EnvoyResource:
    """As of a pod, but for three things. Sockets are opened in the gateway's own network namespace. What a client
    speaks says nothing of the server, unless a rule says so: browsers speak HTTP/2 to whoever ends their TLS. And names
    of headers are in lower case (http.py)."""
    body = {key: value for key, value in resource.body.items() if key != "upstream_bind_config"}
    options = body.get("typed_extension_protocol_options")
    if options is not None:
        body["typed_extension_protocol_options"] = {
            key: _own_protocol(value, follows) for key, value in options.items()
        }
    plain = resource.plain
    inner = None if plain is None else lambda: _of_this_workload(plain(), follows)
    return replace(resource, body=body, plain=inner)


def _own_protocol(options: Json, follows: bool) -> Json:
    """HttpProtocolOptions of a pod's cluster -> a gateway's. follows: whether the client's protocol is spoken."""
    out = dict(options)
    client = out.pop("use_downstream_protocol_config", None)
    if client is not None and not follows:
        out["explicit_http_config"] = {"http_protocol_options": client["http_protocol_options"]}
    elif client is not None:
        out["use_downstream_protocol_config"] = client
    for key in out.keys() & {"use_downstream_protocol_config", "explicit_http_config"}:
        if (http1 := out[key].get("http_protocol_options")) is not None:
            out[key] = {**out[key], "http_protocol_options": in_lower_case(http1)}
    return out
