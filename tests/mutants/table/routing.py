"""Istio's HTTP rules, each observed on the wire."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ROUTING = "tests/stories/routing/test_routing.py"
ACTION = "agent/tidegate/compile/envoy/http_action.py"
MATCH = "agent/tidegate/compile/envoy/http_match.py"
SPLIT = f"{ROUTING}::test_75_25_split[v1-8000]"
MATCHES = f"{ROUTING}::test_each_kind_of_match"

_SPLIT = Group(
    "75/25, within what chance allows",
    (
        Mutant(
            "weights-ignored",
            "a 75/25 split is served 50/50",
            ACTION,
            '"weight": weighted.weight}',
            '"weight": 1}',
            (SPLIT,),
        ),
        Mutant(
            "weights-off-by-ten-points",
            "a 75/25 split is served 65/35",
            ACTION,
            '"weight": weighted.weight}',
            '"weight": weighted.weight + (10 if weighted.weight < 50 else -10)}',
            (SPLIT,),
        ),
        Mutant(
            "subsets-ignored",
            "a subset has the endpoints of the whole service",
            "agent/tidegate/compile/envoy/clusters.py",
            "    if subset is None:\n        return found\n",
            "    if True:\n        return found\n",
            (SPLIT, f"{ROUTING}::test_end_user_jason_gets_v2_and_nobody_else_does"),
        ),
        Mutant(
            "old-api-version-refused",
            "documents of networking.istio.io/v1alpha3 are not read",
            "agent/tidegate/config/kinds/virtual_service.py",
            '("v1alpha3", ',
            "(",
            (f"{ROUTING}::test_75_25_split[v1alpha3-2000]",),
        ),
    ),
)

_MATCH = Group(
    "end-user: jason 100 %, and the other matches",
    (
        Mutant(
            "header-match-ignored",
            "a rule for end-user: jason holds for everybody",
            MATCH,
            "    if headers:\n",
            "    if False:\n",
            (f"{ROUTING}::test_end_user_jason_gets_v2_and_nobody_else_does",),
        ),
        Mutant(
            "exact-header-as-prefix",
            "exact: jason also fits jasonx",
            "agent/tidegate/compile/envoy/protojson.py",
            '        return {"exact": match.value}\n',
            '        return {"prefix": match.value}\n',
            (f"{ROUTING}::test_end_user_jason_gets_v2_and_nobody_else_does",),
        ),
        Mutant(
            "second-route-never-reached",
            "only the first route of a VirtualService is served",
            "agent/tidegate/compile/rules.py",
            "    for index, route in enumerate(vs.http):\n",
            "    for index, route in enumerate(vs.http[:1]):\n",
            (f"{ROUTING}::test_end_user_jason_gets_v2_and_nobody_else_does",),
        ),
        Mutant(
            "uri-regex-as-search",
            "a regex for the path also fits paths that only begin like it",
            MATCH,
            'return {"safe_regex": {"regex": uri.value}}',
            'return {"safe_regex": {"regex": uri.value + ".*"}}',
            (MATCHES,),
        ),
        Mutant(
            "header-regex-as-search",
            "a regex for a header also fits values that only begin like it",
            "agent/tidegate/compile/envoy/protojson.py",
            'return {"safe_regex": {"regex": match.value}}',
            'return {"safe_regex": {"regex": match.value + ".*"}}',
            (MATCHES,),
        ),
        Mutant(
            "uri-exact-as-prefix",
            "exact: /one also fits /one/more",
            MATCH,
            '        return {"path": uri.value}\n',
            '        return {"prefix": uri.value}\n',
            (MATCHES,),
        ),
        Mutant(
            "uri-prefix-ignored",
            "prefix: /api fits every path",
            MATCH,
            '        return {"prefix": uri.value}\n',
            '        return {"prefix": "/"}\n',
            (MATCHES,),
        ),
        Mutant(
            "method-match-ignored",
            "a rule for POST holds for GET",
            MATCH,
            '((":method", match.method), ',
            "(",
            (MATCHES,),
        ),
        Mutant(
            "authority-match-ignored",
            "a rule for one authority holds for all",
            MATCH,
            '(":authority", match.authority), ',
            "",
            (MATCHES,),
        ),
        Mutant(
            "query-match-ignored",
            "a rule for a query parameter holds without it",
            MATCH,
            "    if match.query_params:\n",
            "    if False:\n",
            (MATCHES,),
        ),
        Mutant(
            "without-headers-ignored",
            "withoutHeaders has no effect",
            MATCH,
            "    headers += [_without(name, condition) for name, condition in match.without_headers]\n",
            "",
            (MATCHES,),
        ),
    ),
)

_ACTIONS = Group(
    "redirect, rewrite, timeout, retries, delay, abort and header operations observed on the wire",
    (
        Mutant(
            "redirect-ignored",
            "a redirect does not happen",
            ACTION,
            "    if route.redirect is not None:\n",
            "    if False:\n",
            (f"{ROUTING}::test_redirect",),
        ),
        Mutant(
            "redirect-code-ignored",
            "every redirect is a 301",
            ACTION,
            '{"response_code": _REDIRECT_CODES[redirect.code]}',
            '{"response_code": "MOVED_PERMANENTLY"}',
            (f"{ROUTING}::test_redirect",),
        ),
        Mutant(
            "redirect-authority-ignored",
            "a redirect stays on the same host",
            ACTION,
            "    if host:\n        out[",
            "    if False:\n        out[",
            (f"{ROUTING}::test_redirect",),
        ),
        Mutant(
            "rewrite-of-path-ignored",
            "the server sees the path as the client sent it",
            ACTION,
            "        if route.rewrite.uri is not None:\n",
            "        if False:\n",
            (f"{ROUTING}::test_rewrite",),
        ),
        Mutant(
            "rewrite-of-authority-ignored",
            "the server sees the Host header as the client sent it",
            ACTION,
            '    if hosts:\n        out["host_rewrite_literal"] = hosts\n',
            "",
            (f"{ROUTING}::test_rewrite",),
        ),
        Mutant(
            "timeout-ignored",
            "a request may take as long as it likes",
            ACTION,
            "    if not timeout_ms:\n",
            "    if True:\n",
            (f"{ROUTING}::test_timeout",),
        ),
        Mutant(
            "retries-ignored",
            "a failed request is not tried again as the rule says",
            ACTION,
            "retries = DEFAULT_RETRIES if route.retries is None else route.retries",
            "retries = DEFAULT_RETRIES",
            (f"{ROUTING}::test_retries",),
        ),
        Mutant(
            "one-retry-too-many",
            "attempts: N makes N + 1 retries",
            ACTION,
            '"num_retries": retries.attempts}',
            '"num_retries": retries.attempts + 1}',
            (f"{ROUTING}::test_retries",),
        ),
        Mutant(
            "retries-cannot-be-switched-off",
            "attempts: 0 is taken for the default",
            ACTION,
            '    if retries.attempts:\n        out["retry_policy"] = _retry_policy(retries, not (hashes',
            "    retries = retries if retries.attempts else HttpRetry(attempts=2, retry_on='5xx')\n"
            '    if retries.attempts:\n        out["retry_policy"] = _retry_policy(retries, not (hashes',
            (f"{ROUTING}::test_retries",),
        ),
        Mutant(
            "delay-ignored",
            "an injected delay does not happen",
            ACTION,
            "    if fault.delay_ms:\n",
            "    if False:\n",
            (f"{ROUTING}::test_fault_delay",),
        ),
        Mutant(
            "abort-ignored",
            "an injected abort does not happen",
            ACTION,
            "    if fault.abort_status:\n",
            "    if False:\n",
            (f"{ROUTING}::test_fault_abort",),
        ),
        Mutant(
            "abort-for-everybody",
            "the percentage of an abort is ignored",
            ACTION,
            '{"http_status": fault.abort_status, "percentage": share(fault.abort_share or 0)}',
            '{"http_status": fault.abort_status, "percentage": share(1_000_000)}',
            (f"{ROUTING}::test_fault_abort",),
        ),
        Mutant(
            "headers-of-the-request-kept",
            "headers are not removed from the request",
            ACTION,
            '            out[f"{side}_headers_to_remove"] = removed\n',
            '            out[f"{side}_headers_to_remove"] = removed if side == "response" else []\n',
            (f"{ROUTING}::test_header_operations",),
        ),
        Mutant(
            "header-set-as-add",
            "set appends to a header that is there instead of replacing it",
            ACTION,
            '("OVERWRITE_IF_EXISTS_OR_ADD", operations.set)',
            '("APPEND_IF_EXISTS_OR_ADD", operations.set)',
            (f"{ROUTING}::test_header_operations",),
        ),
        Mutant(
            "header-added-to-no-response",
            "headers are not added to the response",
            ACTION,
            "        if added:\n",
            '        if added and side == "request":\n',
            (f"{ROUTING}::test_header_operations",),
        ),
    ),
)

GROUPS = (_SPLIT, _MATCH, _ACTIONS)
