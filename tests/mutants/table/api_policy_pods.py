"""What a DestinationRule gives to pods by Secrets and tunnels, and what the MeshConfig says where no rule does."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

CREDENTIALS = "tests/envoy/test_credentials.py"
TUNNELS = "tests/envoy/test_tunnels.py"
ENDPOINTS = "tests/envoy/test_policy_endpoints.py"
CARRIED = "tests/unit/compile/test_carried.py"
PLACES = "tests/unit/compile/test_localities.py"
EFFECT = "tests/unit/config/test_effect.py"
RESOLVER = "tests/unit/dataplane/test_resolver.py"
CLUSTERS = "agent/tidegate/compile/envoy/clusters.py"
TUNNEL = "agent/tidegate/compile/envoy/tunnel.py"
MESH = "agent/tidegate/model/mesh_config.py"

_SECRETS = Group(
    "a pod that a rule selects shows the certificate of its namespace's Secret, and nobody else does",
    (
        Mutant(
            "secrets-of-the-mesh",
            "a rule that selects nobody lets pods use a Secret of the service's namespace",
            "agent/tidegate/compile/outbound/credentials.py",
            "for tls in tls_of(rule) if rule.selector is not None else ():",
            "for tls in tls_of(rule):",
            (f"{CREDENTIALS}::test_what_is_asked_for_is_of_the_rules_namespace_and_nobody_elses",),
        ),
        Mutant(
            "secrets-of-any-namespace",
            "a Secret of the same name in another namespace is taken",
            "agent/tidegate/compile/outbound/credentials.py",
            'f"{secret.namespace}/{secret.name}": secret',
            'f"{rule.namespace}/{secret.name}": secret',
            (f"{CREDENTIALS}::test_what_is_asked_for_is_of_the_rules_namespace_and_nobody_elses",),
        ),
        Mutant(
            "pods-without-their-secret",
            "credentialName means nothing for pods",
            CLUSTERS,
            "credential(said, key.client) if of_pods else",
            '"" if of_pods else',
            (f"{CREDENTIALS}::test_a_client_shows_the_certificate_of_its_namespaces_secret",),
        ),
        Mutant(
            "missing-secrets-are-not-named",
            "a Secret that is not there is no finding",
            "agent/tidegate/config/kinds/effect.py",
            "        if lacks:\n",
            "        if False:\n",
            (f"{EFFECT}::test_what_pods_need_of_a_secret_and_nobody_wrote_is_told",),
        ),
    ),
)

_TUNNELS = Group(
    "connections go through the tunnel that a rule names, or nowhere",
    (
        Mutant(
            "tunnels-left-to-the-relay",
            "connections go to the proxy as if it were who they are for",
            "agent/tidegate/compile/l4/carried.py",
            "bool(policy.proxy_protocol or policy.tunnel)",
            "bool(policy.proxy_protocol)",
            (f"{CARRIED}::test_who_serves_a_port_says_its_policy",),
        ),
        Mutant(
            "always-connect",
            "protocol: POST means nothing",
            TUNNEL,
            "        if tunnel.post:\n",
            "        if False:\n",
            (f"{TUNNELS}::test_by_post_the_connection_is_the_body",),
        ),
        Mutant(
            "a-proxys-protocol-follows-nobody",
            "a proxy is spoken to in HTTP/2",
            CLUSTERS,
            "    if settings.tunnel is None or port.protocol.is_http:\n",
            "    if True:\n",
            (f"{TUNNELS}::test_a_proxy_is_asked_to_connect_to_the_target",),
        ),
        Mutant(
            "mixed-tunnels-are-guessed",
            "a part of the connections goes through another's tunnel",
            TUNNEL,
            "name if len(wanted) == 1 else private.NOWHERE",
            "name",
            (f"{TUNNELS}::test_a_subset_may_have_a_tunnel_of_its_own",),
        ),
        Mutant(
            "tunnels-of-requests-unsaid",
            "a tunnel of an HTTP port does nothing, without a word",
            "agent/tidegate/config/kinds/effect.py",
            'if written.honoured is Honoured.CONNECTIONS else ""',
            'if False else ""',
            (f"{EFFECT}::test_requests_are_not_tunnelled_and_that_is_said",),
        ),
    ),
)

_MESH = Group(
    "what the mesh says holds where no rule says it",
    (
        Mutant(
            "places-of-the-mesh-ignored",
            "localityLbSetting of the mesh means nothing",
            MESH,
            "mesh_near=self.near",
            "mesh_near=None",
            (PLACES, f"{ENDPOINTS}::test_the_mesh_says_which_places_serve_where_no_rule_does"),
        ),
        Mutant(
            "places-of-the-mesh-over-those-of-rules",
            "the mesh's localityLbSetting holds against a rule's",
            "agent/tidegate/model/traffic.py",
            "return own or self.mesh_near",
            "return self.mesh_near or own",
            (f"{PLACES}::test_the_mesh_says_which_places_where_a_rule_does_not",),
        ),
        Mutant(
            "places-of-the-mesh-not-for-tcp",
            "TCP ports go anywhere, whatever the mesh says of places",
            "agent/tidegate/compile/l4/carried.py",
            "        return (ANY_HOST,)\n",
            "        pass\n",
            (f"{CARRIED}::test_places_that_the_mesh_prefers_are_envoys_business",),
        ),
        Mutant(
            "names-asked-every-minute",
            "dnsRefreshRate means nothing for names behind TCP ports",
            "agent/tidegate/dataplane/resolver.py",
            "refresh = max(refresh_ms / 1000, SHORTEST_SECONDS)",
            "refresh = 60.0",
            (f"{RESOLVER}::test_the_mesh_says_how_often_a_name_is_asked_and_a_shorter_time_holds_at_once",),
        ),
        Mutant(
            "names-of-envoy-asked-every-minute",
            "dnsRefreshRate means nothing for Envoy",
            "agent/tidegate/compile/envoy/named.py",
            '"dns_refresh_rate": duration(refresh_ms)',
            '"dns_refresh_rate": "60s"',
            ("tests/unit/compile/test_entries.py::test_the_mesh_says_how_often_envoy_asks_for_a_name",),
        ),
        Mutant(
            "one-of-few-is-always-left-out",
            "on TCP ports the first endpoint that fails is left out, on HTTP ports it is not",
            "agent/relay/health.c",
            "	if ((out + 1) * 100 >",
            "	if (out && (out + 1) * 100 >",
            ("tests/relay/test_routes.py::test_of_few_endpoints_none_is_left_out_by_a_share_that_is_less_than_one",),
        ),
        Mutant(
            "the-old-api-leaves-out-none-of-few",
            "compat changes nothing for TCP ports",
            "agent/tidegate/compile/l4/settings.py",
            "    if compat is Compat.V1ALPHA3 and endpoints:\n",
            "    if False:\n",
            ("tests/unit/compile/test_compat.py::test_of_few_endpoints_of_tcp_one_may_be_left_out_too",),
        ),
    ),
)

GROUPS = (_SECRETS, _TUNNELS, _MESH)
