"""What a DestinationRule says, on HTTP ports."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

TLS = "tests/envoy/test_policy_tls.py"
ENDPOINTS = "tests/envoy/test_policy_endpoints.py"
SECRETS = "tests/envoy/test_secrets.py"
RULES = "tests/unit/compile/test_rules.py"
PLACES = "tests/unit/compile/test_localities.py"
SOCKET = "agent/tidegate/compile/envoy/upstream_tls.py"
FILES = "agent/tidegate/compile/envoy/in_files.py"
OPTIONS = "agent/tidegate/compile/envoy/http_options.py"

_TLS = Group(
    "TLS begins behind the application, and the server is checked",
    (
        Mutant(
            "any-server-is-believed",
            "a server with another's certificate gets the request",
            OPTIONS,
            '"auto_san_validation": tls.verify and not (tls.sni or tls.names)',
            '"auto_san_validation": False',
            (f"{TLS}::test_which_servers_are_believed",),
        ),
        Mutant(
            "names-of-servers-ignored",
            "subjectAltNames are not looked at",
            SOCKET,
            "        if tls.names:\n",
            "        if False:\n",
            (f"{TLS}::test_which_servers_are_believed",),
        ),
        Mutant(
            "revocations-ignored",
            "caCrl is not looked at",
            FILES,
            "    if crl:\n",
            "    if False:\n",
            (f"{TLS}::test_which_servers_are_believed",),
        ),
        Mutant(
            "no-client-certificate",
            "MUTUAL shows no certificate",
            SOCKET,
            "    elif of_the_mesh or _shows_itself(tls):\n",
            "    elif of_the_mesh:\n",
            (f"{TLS}::test_a_client_shows_its_certificate",),
        ),
        Mutant(
            "proxy-header-of-another-version",
            "version 2 of the PROXY protocol is asked for and version 1 is sent",
            SOCKET,
            'config={"version": settings.proxy_protocol.value}',
            'config={"version": "V1"}',
            (f"{TLS}::test_the_proxy_protocol_says_who_asks",),
        ),
        Mutant(
            "files-of-the-node",
            "a rule names any file of the node",
            "agent/tidegate/model/tls_files.py",
            '    return posixpath.join(_root, namespace, posixpath.normpath(path).lstrip("/"))',
            "    return path",
            ("tests/unit/model/test_tls_files.py",),
        ),
        Mutant(
            "files-of-other-namespaces",
            ".. in a path leads to another namespace's files",
            "agent/tidegate/model/tls_files.py",
            ' or ".." in path.split("/")',
            "",
            ("tests/unit/model/test_tls_files.py",),
        ),
        Mutant(
            "plain-text-in-place-of-a-refused-cluster",
            "what serves in place of a refused cluster has lost its TLS",
            "agent/tidegate/model/traffic.py",
            "            tls=self.tls,\n            proxy_protocol",
            "            proxy_protocol",
            ("tests/unit/compile/envoy/test_clusters.py",),
        ),
        Mutant(
            "certificates-are-read-once",
            "a replaced certificate is never shown",
            FILES,
            '    return {"path": posixpath.dirname(path)}',
            '    return {"path": "/"}',
            (f"{SECRETS}::test_a_certificate_is_replaced_while_requests_go_on",),
        ),
        Mutant(
            "missing-files-seem-there",
            "after a second a file that is missing is no longer told",
            "agent/tidegate/xds/watch.py",
            "in_other_words(encoded, self.refusals.get(encoded.name, 0))",
            "in_other_words(encoded, 0)",
            ("tests/unit/xds/test_again.py",),
        ),
        Mutant(
            "missing-files-are-final",
            "a file that comes later is never read",
            "agent/tidegate/xds/stream.py",
            "_TRIED_AGAIN = (LISTENERS, SECRETS)",
            "_TRIED_AGAIN = (LISTENERS,)",
            (f"{SECRETS}::test_a_file_that_is_missing_is_named_and_served_when_it_comes",),
        ),
    ),
)

_PLACES = Group(
    "endpoints nearby come first, and shares are as they are written",
    (
        Mutant(
            "far-before-near",
            "endpoints elsewhere serve while those nearby are well",
            "agent/tidegate/compile/localities.py",
            "ranks.index(rank)",
            "len(ranks) - 1 - ranks.index(rank)",
            (PLACES, f"{ENDPOINTS}::test_the_nearest_endpoints_serve_until_they_fail"),
        ),
        Mutant(
            "shares-ignored",
            "distribute spreads over all endpoints alike",
            "agent/tidegate/compile/localities.py",
            "ceil(g.weight * percent / total)",
            "g.weight",
            (PLACES, f"{ENDPOINTS}::test_shares_are_as_they_are_written"),
        ),
        Mutant(
            "labels-in-no-order",
            "failoverPriority counts how many labels differ, not which comes first",
            "agent/tidegate/compile/localities.py",
            "            return len(wanted.priority) - number\n",
            "            return 1\n",
            (f"{ENDPOINTS}::test_labels_that_endpoints_share_with_the_client_put_them_in_order",),
        ),
        Mutant(
            "a-pods-own-place-ignored",
            "the label istio-locality means nothing",
            "agent/tidegate/compile/nearness.py",
            "    if OWN_LOCALITY in endpoint.labels:\n",
            "    if False:\n",
            (f"{ENDPOINTS}::test_the_pods_own_word_about_its_place_counts",),
        ),
    ),
)

_WHOSE = Group(
    "a rule is for the clients that it names",
    (
        Mutant(
            "selectors-ignored",
            "a rule for some clients is for nobody",
            "agent/tidegate/compile/rules.py",
            "r.selector is not None and selects(r.selector, source.labels)",
            "False",
            (RULES, f"{ENDPOINTS}::test_the_rule_of_a_client_is_for_nobody_else"),
        ),
        Mutant(
            "selected-rule-for-all",
            "a rule for some clients is for everybody",
            "agent/tidegate/compile/rules.py",
            "if r.selector is None and (r.namespace == client or r.exported_to(client, default))",
            "if r.namespace == client or r.exported_to(client, default)",
            (RULES,),
        ),
        Mutant(
            "audiences-mixed",
            "rules that are exported to different namespaces are united",
            "agent/tidegate/compile/rules.py",
            "if rule.audience(default) == rules[0].audience(default)",
            "if True",
            (RULES,),
        ),
        Mutant(
            "port-entry-forgets-what-it-cannot-say",
            "a subset's entry for a port takes the PROXY protocol away",
            "agent/tidegate/model/traffic.py",
            "            upper.proxy_protocol or self.proxy_protocol,\n",
            "            None if top else upper.proxy_protocol or self.proxy_protocol,\n",
            (RULES,),
        ),
    ),
)

_SICK = Group(
    "what makes an endpoint sick, and how long a connection lives",
    (
        Mutant(
            "codes-ignored",
            "only 5xx count, whatever is written",
            OPTIONS,
            "    if outlier is not None and outlier.codes:\n",
            "    if False:\n",
            (f"{ENDPOINTS}::test_which_answers_make_an_endpoint_sick",),
        ),
        Mutant(
            "local-errors-not-counted",
            "an endpoint that refuses connections is asked for ever",
            "agent/tidegate/compile/envoy/pools.py",
            "    if outlier.split_local:\n",
            "    if False:\n",
            (f"{ENDPOINTS}::test_an_endpoint_that_nobody_reaches_is_counted_apart",),
        ),
        Mutant(
            "connections-for-ever",
            "maxConnectionDuration means nothing",
            OPTIONS,
            "    if pool.max_connection_ms:\n",
            "    if False:\n",
            (f"{ENDPOINTS}::test_a_connection_is_not_kept_longer_than_it_may",),
        ),
        Mutant(
            "cookies-without-attributes",
            "a cookie that is made lacks what was asked for",
            "agent/tidegate/compile/envoy/http_action.py",
            "        if hashed.cookie_attributes:\n",
            "        if False:\n",
            (f"{ENDPOINTS}::test_a_cookie_that_is_made_has_its_attributes",),
        ),
        Mutant(
            "declared-protocol-against-the-client",
            "useClientProtocol means nothing on a port that is declared http2",
            OPTIONS,
            "    if pool.client_protocol or (",
            "    if (",
            (f"{ENDPOINTS}::test_a_port_that_is_declared_http2_can_speak_what_its_client_speaks",),
        ),
    ),
)

GROUPS = (_TLS, _PLACES, _WHOSE, _SICK)
