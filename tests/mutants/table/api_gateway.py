"""Gateways: who is served at the edge, with which certificate, and what a stranger cannot do there."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

HTTP = "tests/unit/compile/gateway/test_gateway_http.py"
TLS = "tests/unit/compile/gateway/test_gateway_tls.py"
L4 = "tests/unit/compile/gateway/test_gateway_l4.py"
SECRETS = "tests/unit/config/test_secrets.py"
FILES = "tests/unit/gateway/test_files.py"
POLICIES = "tests/unit/compile/gateway/test_gateway_policies.py"
SHOWN = "tests/unit/compile/gateway/test_gateway_shown.py"
REFUSED = "tests/stories/gateway/test_refused_at_gateway.py"
ROOM = "agent/tidegate/compile/gateway"

GROUPS: tuple[Group, ...] = (
    Group(
        "A gateway serves what is for it, and nothing else",
        (
            Mutant(
                "gateway-serves-rules-of-others",
                "a rule for another gateway is served here, too",
                f"{ROOM}/routes.py",
                "    for vs in rules.get(served.gateway.ref, ()):\n",
                "    for vs in [v for those in rules.values() for v in those]:\n",
                (HTTP,),
            ),
            Mutant(
                "gateway-catch-all-first",
                "an older rule that takes every request hides those of others for the same host",
                f"{ROOM}/routes.py",
                "for last, route in sorted(made, key=lambda item: item[0])",
                "for last, route in made",
                (HTTP,),
            ),
            Mutant(
                "gateway-host-of-another-namespace",
                "a VirtualService of any namespace takes a host that a server keeps for one",
                f"{ROOM}/routes.py",
                'for h in served.server.hosts if h.namespace in ("*", vs.namespace)]\n        both',
                "for h in served.server.hosts]\n        both",
                (HTTP,),
            ),
            Mutant(
                "gateway-authorities-for-nobody",
                "authorities of clients that are asked for no certificate are taken, and nothing is said",
                "agent/tidegate/config/shapes/server_tls.py",
                '    *("caCertificates", "caCertCredentialName", "caCrl"),\n',
                '    "caCrl",\n',
                ("tests/unit/config/test_document_vectors.py::test_findings[gateways]",),
            ),
            Mutant(
                "gateway-no-redirect",
                "plain requests are answered where the Gateway says https",
                f"{ROOM}/routes.py",
                '                host["require_tls"] = "ALL"\n',
                "                pass\n",
                (HTTP,),
            ),
            Mutant(
                "gateway-listens-at-the-service-port",
                "the pod listens at a port to which its Service does not lead",
                f"{ROOM}/ports.py",
                "for number in listens.get(server.port, (server.port,)):",
                "for number in (server.port,):",
                (HTTP,),
            ),
            Mutant(
                "gateway-keeps-names-as-written",
                "a gateway pays for the case of each header's name, which Istio's does not keep",
                f"{ROOM}/http.py",
                'if key != "header_key_format"}',
                'if key != "nothing"}',
                (HTTP,),
            ),
            Mutant(
                "gateway-follows-the-browser",
                "a browser's HTTP/2 goes on to a server that does not speak it",
                f"{ROOM}/compiler.py",
                "    if client is not None and not follows:\n",
                "    if False:\n",
                (HTTP,),
                raises=("KeyError",),
            ),
            Mutant(
                "gateway-two-chains-of-one-name",
                "Envoy refuses the listener, and the port stays as it was",
                f"{ROOM}/listeners.py",
                "free = [name for name in wanted if name not in self.names]",
                "free = list(wanted)",
                (L4,),
            ),
        ),
    ),
    Group(
        "A certificate is whole and the right one, or its server alone is left out",
        (
            Mutant(
                "gateway-secret-of-any-namespace",
                "a Secret of the same name in another team's namespace serves",
                f"{ROOM}/compiler.py",
                "for s in facts.mesh.secrets if known and s.namespace == workload.namespace}",
                "for s in facts.mesh.secrets if known}",
                (TLS,),
            ),
            Mutant(
                "gateway-clients-need-no-certificate",
                "MUTUAL lets clients in that show none",
                f"{ROOM}/tls.py",
                '"require_client_certificate": tls.mode is ServerTlsMode.MUTUAL,',
                '"require_client_certificate": False,',
                (TLS,),
            ),
            Mutant(
                "secret-with-a-foreign-key",
                "a key that is not the certificate's reaches Envoy, and the listener waits for ever",
                "agent/tidegate/config/shapes/certificates.py",
                "    if _bytes(private.public_key()) != _bytes(public):\n",
                "    if False:\n",
                (SECRETS,),
            ),
            Mutant(
                "half-a-rotation-serves",
                "a certificate that is there before its key takes the server down",
                "agent/tidegate/gateway/files.py",
                "            if problems and all(path in before for path in paths):\n",
                "            if False:\n",
                (FILES,),
            ),
            Mutant(
                "gateway-secret-missing-unnamed",
                "requests get 503 for want of a Secret that nobody names",
                f"{ROOM}/compiler.py",
                "            why[str(missing)] = None\n            concerned += those\n",
                "            missed.clear()\n",
                (POLICIES,),
            ),
            Mutant(
                "gateway-explains-what-is-not-sent",
                "explain says that a server is reached for which a Secret is missing",
                f"{ROOM}/explain.py",
                "    if destinations and not usable:\n",
                "    if False:\n",
                (POLICIES,),
            ),
            Mutant(
                "gateway-asks-about-the-last-certificate-only",
                "an authority that was taken back goes on signing clients",
                "agent/tidegate/compile/envoy/inline.py",
                'context["crl"] = _inline(crl)',
                'context |= {"crl": _inline(crl), "only_verify_leaf_cert_crl": True}',
                (TLS, "tests/stories/gateway/test_ingress.py"),
            ),
            Mutant(
                "authority-without-a-list-unnamed",
                "nobody is let in whom an authority signed, and no message says why",
                "agent/tidegate/config/shapes/certificates.py",
                "for one in certificates for name in (one.subject, one.issuer))",
                "for one in certificates for name in (one.subject,))",
                (SECRETS,),
            ),
        ),
    ),
    Group(
        "A patch is judged alone, where it would serve",
        (
            Mutant(
                "gateway-patches-shown-to-nobody",
                "a patch that Envoy refuses takes all others of its listener with it",
                f"{ROOM}/compiler.py",
                "listeners = {**self.envoy[LISTENERS], **self.shown.listeners, **self.rules.listeners}",
                "listeners = {**self.envoy[LISTENERS], **self.rules.listeners}",
                (SHOWN, "tests/stories/gateway/test_gateway_filters.py"),
            ),
            Mutant(
                "gateway-patch-shown-where-it-does-nothing",
                "a patch is tried on a listener that it does not change, and taken for good",
                f"{ROOM}/shown.py",
                "            if failures or body == without:\n",
                "            if failures:\n",
                (SHOWN,),
            ),
            Mutant(
                "gateway-refused-patch-forgotten",
                "a refused patch is no longer shown, so it comes back and is refused again",
                f"{ROOM}/patched.py",
                "every = Selection(mesh.envoy_filters, (), root)",
                "every = Selection(mesh.envoy_filters, mesh.refused_patches, root)",
                (SHOWN,),
            ),
            Mutant(
                "gateway-chains-not-compared",
                "a patch that makes two chains for the same clients looks good alone",
                f"{ROOM}/shown.py",
                "            if patch.apply_to not in _WHOLE:\n",
                "            if True:\n",
                (SHOWN,),
            ),
        ),
    ),
    Group(
        "A rule is judged alone before it gets among those of others, as for pods",
        (
            Mutant(
                "gateway-rules-shown-to-nobody",
                "one rule that Envoy refuses holds up every other of the gateway, and after a restart none serves",
                f"{ROOM}/compiler.py",
                "CHECKS: self.rules.tables}",
                "CHECKS: {}}",
                (SHOWN, REFUSED),
            ),
            Mutant(
                "gateway-rules-shown-nowhere",
                "the gateway waits for a verdict on its rules that never comes",
                f"{ROOM}/compiler.py",
                ", **self.rules.listeners}",
                "}",
                (SHOWN, REFUSED),
            ),
            Mutant(
                "gateway-verdicts-are-not-told",
                "a rule that Envoy refuses stays among those of others, and its last good version serves no more",
                "agent/tidegate/gateway/app.py",
                ', LastGood(settings.run_dir / "last-good"), ads.verdicts)',
                ', LastGood(settings.run_dir / "last-good"))',
                (REFUSED,),
            ),
            Mutant(
                "gateway-delegates-unjudged",
                "a rule without hosts gets among those of others unseen",
                f"{ROOM}/shown.py",
                "    named = {delegate for group in roots for vs in group for delegate in delegates_of(vs)}\n",
                "    named: set[object] = set()\n",
                (SHOWN,),
            ),
            Mutant(
                "gateway-rules-shown-again",
                "every change of anything shows Envoy all rules of the gateway once more",
                "agent/tidegate/compile/outbound/checks.py",
                "known if known is not None and known.judged is vs else check(vs, suffix)",
                "check(vs, suffix)",
                (SHOWN,),
            ),
            Mutant(
                "rules-wait-for-scopes-of-addresses",
                "a client that has no scopes but those of rules is never shown one",
                "agent/tidegate/xds/session.py",
                "return bool(scopes.held) or (scopes.subscribed and not scopes.target and not scopes.busy)",
                "return bool(scopes.held)",
                ("tests/unit/xds/test_on_demand.py", REFUSED),
            ),
        ),
    ),
)
