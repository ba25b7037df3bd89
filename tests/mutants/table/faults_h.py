"""Faults of HTTP that outside eyes found (docs/faults.md, C1 to C9), each as it would be without its fix."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

OPTIONS = "agent/tidegate/compile/envoy/http_options.py"
ACTION = "agent/tidegate/compile/envoy/http_action.py"
DIRECT = "tests/envoy/test_http_as_direct.py"
SAME = f"{DIRECT}::test_the_same_request_has_the_same_answer"
DEADLINES = "tests/envoy/test_deadlines.py"

# Behind it: another cluster says the same, too.
_BUFFER = '        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,\n        "metadata"'

_STRICT = Group(
    "the mesh is not stricter than no mesh",
    (
        Mutant(
            "odd-upgrade-refused",
            "a request that asks for a protocol that nobody knows gets 403",
            OPTIONS,
            '            "ignore_http_11_upgrade": [',
            '            "ignore_http_11_upgrade": [] and [',
            (f"{SAME}[upgrade to what nobody knows]",),
        ),
        Mutant(
            "hundred-headers",
            "the 101st header is one too many",
            OPTIONS,
            "MAX_HEADERS = 20_000",
            "MAX_HEADERS = 100",
            (f"{SAME}[150 headers]", f"{SAME}[150 headers in the answer]"),
        ),
        Mutant(
            "trailers-dropped",
            "trailers do not arrive",
            OPTIONS,
            '        "enable_trailers": True,\n',
            "",
            (f"{SAME}[trailers]",),
        ),
        Mutant(
            "connect-refused",
            "a client cannot use a proxy that is a service",
            "agent/tidegate/compile/envoy/http_match.py",
            '    return {"connect_matcher": {}, ',
            '    return {"prefix": "/", ',
            (f"{DIRECT}::test_a_connection_becomes_another_protocol[CONNECT]",),
        ),
        Mutant(
            "slow-reader-cut-off",
            "a reader that pauses loses the end of the last answer",
            OPTIONS,
            '        "delayed_close_timeout": "0s",\n',
            "",
            (f"{DIRECT}::test_a_reader_that_pauses_loses_nothing",),
        ),
        Mutant(
            "broken-answer-looks-alive",
            "an answer that the server broke off looks alive for ten seconds",
            OPTIONS,
            '        "delayed_close_timeout": "0s",\n',
            '        "delayed_close_timeout": "10s",\n',
            (f"{DIRECT}::test_an_answer_that_the_server_broke_off_ends_at_once",),
        ),
        Mutant(
            "smuggled-length",
            "a request with two lengths is passed on",
            OPTIONS,
            '            "allow_custom_methods": True,\n',
            '            "allow_custom_methods": True, "allow_chunked_length": True,\n',
            (f"{DIRECT}::test_what_stays_refused[two lengths]",),
        ),
    ),
)

_DEADLINES = Group(
    "deadlines that applications and their libraries say",
    (
        Mutant(
            "grpc-timeout-ignored",
            "a gRPC call outlives its deadline",
            ACTION,
            ', "max_stream_duration": {"grpc_timeout_header_max": "0s"}}',
            "}",
            (f"{DEADLINES}::test_grpc_timeout_is_honoured[no rule]",),
            ("TimeoutError",),
        ),
        Mutant(
            "own-deadline-stripped",
            "x-envoy-upstream-rq-timeout-ms of an application has no effect",
            OPTIONS,
            '        "internal_address_config": {"cidr_ranges": [_every("0.0.0.0"), _every("::")]},\n',
            "",
            (f"{DEADLINES}::test_what_istio_lets_applications_say_is_honoured",),
        ),
    ),
)

_REDIRECTS = Group(
    "a redirect leads where it says",
    (
        Mutant(
            "default-port-written-out",
            "a redirect to port 80 leads to http://x:80/",
            ACTION,
            "    if number and not (default and (host or port in (_DEFAULT_PORTS[scheme], number))):\n",
            "    if number:\n",
            ("tests/envoy/test_redirects.py",),
        ),
        Mutant(
            "two-ports-in-a-redirect",
            "a port in authority stands beside the port",
            ACTION,
            '    host = found["host"] if found else authority\n',
            "    host = authority\n",
            ("tests/envoy/test_redirects.py",),
        ),
    ),
)

ORACLE = "agent/tidegate/compile/explain/requests.py"
PATHS = "tests/unit/compile/test_paths_against_envoy.py"

_PATHS = Group(
    "explain and Envoy agree about paths",
    (
        Mutant(
            "parameter-of-a-dot-segment",
            "explain takes /a/..;p/b for another path than Envoy",
            ORACLE,
            '_PARAMETER.sub(r"\\1", path).replace(',
            "path.replace(",
            (PATHS,),
        ),
        Mutant(
            "unsafe-characters-as-they-are",
            "explain compares | where Envoy compares %7C",
            ORACLE,
            '    path = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", path)\n',
            "",
            (PATHS,),
        ),
    ),
)

_ALIASES = Group(
    "a route to an ExternalName leads where the alias leads",
    (
        Mutant(
            "alias-not-followed",
            "a route to an ExternalName gets 503",
            "agent/tidegate/compile/registry.py",
            "            host = following\n",
            "            break\n",
            ("tests/envoy/test_external_names.py::test_an_alias_of_a_service_leads_to_its_pods",),
        ),
        Mutant(
            "alias-of-nothing-silent",
            "validate says nothing about an alias of a service that does not exist",
            "agent/tidegate/config/kinds/service.py",
            "    if in_cluster(alias)",
            "    if not in_cluster(alias)",
            ("tests/unit/config/test_kube_schema.py::test_an_alias_of_nothing_is_told",),
            ("ValueError",),
        ),
    ),
)

TWO_NODES = "tests/stories/capture/test_two_nodes.py::test_http_to_the_other_node"

_SOURCE = Group(
    "the server of an HTTP request sees the client pod",
    (
        Mutant(
            "namespace-not-said",
            "a request leaves from the node's address",
            "agent/tidegate/compile/outbound/listeners.py",
            "        filters.append(pod_sockets(sandbox.netns_path, secret))\n",
            "        pod_sockets(sandbox.netns_path, secret)\n",
            (TWO_NODES, "tests/unit/compile/outbound/test_listeners.py"),
        ),
        Mutant(
            "namespace-not-looked-at",
            "clusters do not look at the namespace that a connection names",
            "agent/tidegate/compile/envoy/clusters.py",
            '        "upstream_bind_config": _bound_in_the_pod(),\n' + _BUFFER,
            _BUFFER,
            (TWO_NODES,),
        ),
    ),
)

GROUPS = (_ALIASES, _SOURCE, _PATHS, _STRICT, _DEADLINES, _REDIRECTS)
