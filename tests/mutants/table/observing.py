"""What people are told: explain, doctor, status, metrics, the benchmark and README's table of it."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

EXPLAIN = "agent/tidegate/compile/explain/trace.py"
EXPLAINED = "tests/stories/operate/test_explain.py"
DOCTOR = "tests/stories/operate/test_doctor.py"
CORPUS = "tests/relay/test_fuzz_corpus.py::test_corpus[relay]"
_CARRIED = "agent/tidegate/telemetry/carried.py"
_SUMS = "tests/relay/test_sums.py"

_TOLD = Group(
    "status, explain, pods, services, doctor are true",
    (
        Mutant(
            "explain-names-the-documents-line",
            "explain names the first line of the VirtualService instead of the rule's",
            EXPLAIN,
            "line=chosen.route.line or written.line)",
            "line=written.line)",
            (f"{EXPLAINED}::test_http_names_file_line_and_the_endpoints_that_answer",),
        ),
        Mutant(
            "explain-ignores-subsets",
            "explain lists endpoints that the rule does not lead to",
            EXPLAIN,
            "subset_endpoints(self._registry, service, port, policy, target.subset)",
            'subset_endpoints(self._registry, service, port, policy, "")',
            (f"{EXPLAINED}::test_http_names_file_line_and_the_endpoints_that_answer",),
        ),
        Mutant(
            "explain-ignores-headers",
            "explain looks at no header of the request",
            "agent/tidegate/observe/process.py",
            'for key, value in query.items() if key.startswith("header.")}',
            'for key, value in query.items() if key.startswith("head.")}',
            (f"{EXPLAINED}::test_http_names_file_line_and_the_endpoints_that_answer",),
        ),
        Mutant(
            "explain-promises-nobody",
            "explain allows TCP to a service without endpoints",
            EXPLAIN,
            'verdict="allow" if endpoints else "unavailable",\n            reason=reason if endpoints else out.reason',
            'verdict="allow",\n            reason=reason if endpoints else out.reason',
            (
                "tests/unit/compile/test_explain.py::test_a_service_without_endpoints_is_unavailable",
                f"{EXPLAINED}::test_a_service_without_endpoints_is_unavailable_and_so_it_is_on_the_wire",
            ),
        ),
        Mutant(
            "nobody-wrote-a-status",
            "explain, metrics and the data plane take a container without a status for one that is not ready",
            "agent/tidegate/compile/facts.py",
            "    ready = document.ready or not document.has_status\n",
            "    ready = document.ready\n",
            (
                "tests/unit/compile/test_explain.py"
                "::test_a_container_that_nobody_wrote_a_status_for_is_an_endpoint_where_it_runs",
            ),
        ),
        Mutant(
            "addresses-of-containers-not-lent",
            "metrics say unknown for a container whose document says no address",
            "agent/tidegate/compile/facts.py",
            "ips=document.ips or sandbox.ips,",
            "ips=document.ips,",
            ("tests/unit/telemetry/test_flows.py::test_a_container_that_nobody_wrote_a_status_for_has_its_name",),
        ),
        Mutant(
            "secrets-are-dumped",
            "/config_dump shows what is in a secret of a kind that it does not know",
            "agent/tidegate/observe/dump.py",
            "    if kind == SECRETS:\n",
            "    if False:\n",
            ("tests/unit/observe/test_dump.py",),
        ),
        Mutant(
            "keys-in-listeners-are-dumped",
            "/config_dump shows a private key that stands in a listener",
            "agent/tidegate/observe/dump.py",
            "REDACTED if k in SENSITIVE else _redacted(v)",
            "_redacted(v)",
            ("tests/unit/observe/test_dump.py",),
        ),
        Mutant(
            "explain-guesses-listeners",
            "explain promises a tier whose listener the pod does not have",
            "agent/tidegate/compile/explain/oracle.py",
            "    if not port:\n",
            "    if False:\n",
            (
                "tests/unit/bpf/test_oracle.py",
                "tests/unit/compile/test_explain.py::test_what_the_hook_says_is_told_in_its_own_words",
            ),
        ),
        Mutant(
            "explain-exit-code",
            "explain ends with 0 for a connection that would be refused",
            "agent/tidegate/cli/explain.py",
            'raise typer.Exit(1 if answers[0]["verdict"] in ("deny", "unavailable") else 0)',
            "raise typer.Exit(0)",
            (f"{EXPLAINED}::test_tcp_and_what_is_not_touched",),
        ),
        Mutant(
            "doctor-exit-code",
            "doctor ends with 0 although something needed is missing",
            "agent/tidegate/cli/doctor.py",
            "raise typer.Exit(1 if any(f.needed and not f.ok for f in features) else 0)",
            "raise typer.Exit(0)",
            (DOCTOR,),
        ),
        Mutant(
            "guards-not-listed",
            "status and doctor show the hooks of the node but not those inside of pods",
            "agent/tidegate/bpf/targets.py",
            "for folder in (pins.links, pins.lookup) for name",
            "for folder in (pins.links,) for name",
            ("tests/bpf/test_targets.py::test_every_hook_and_guard_is_listed",),
        ),
        Mutant(
            "doctor-sees-what-is-not-there",
            "doctor says that bpffs is there when it is not",
            "agent/tidegate/bpf/probe.py",
            'Feature("bpf file system", there or USUAL.is_dir(), True, detail)',
            'Feature("bpf file system", True, True, detail)',
            (DOCTOR,),
        ),
        Mutant(
            "status-exit-code",
            "status ends with 0 although the node is unhealthy",
            "agent/tidegate/cli/status.py",
            "raise typer.Exit(0 if healthy else 1)",
            "raise typer.Exit(0)",
            ("tests/stories/change/test_restart.py::test_status_is_unhealthy_while_envoy_is_silent",),
        ),
        Mutant(
            "health-ignores-envoy",
            "status is healthy while Envoy is silent or away",
            "agent/tidegate/observe/views.py",
            "        for program in (self._relay, self._envoy):\n",
            "        for program in (self._relay,):\n",
            ("tests/stories/change/test_restart.py::test_status_is_unhealthy_while_envoy_is_silent",),
        ),
        Mutant(
            "enrolment-reported-wrongly",
            "pods that are not in the mesh show as enrolled",
            "agent/tidegate/observe/views.py",
            '"enrolled": state is PodState.ENROLLED,',
            '"enrolled": True,',
            ("tests/stories/capture/test_addresses.py::test_pods_without_the_mesh_are_untouched",),
        ),
        Mutant(
            "pods-say-not-guarded",
            "`tidegate pods` calls a guarded pod unguarded",
            "agent/tidegate/observe/views.py",
            '"guarded": cookie in guarded,',
            '"guarded": cookie not in guarded,',
            ("tests/stories/operate/test_nouns.py",),
        ),
        Mutant(
            "services-name-the-wrong-tier",
            "`tidegate services` calls HTTP ports TCP ones",
            "agent/tidegate/observe/views.py",
            '"tier": tier.name.lower(),',
            '"tier": "fastpath",',
            ("tests/stories/operate/test_nouns.py",),
        ),
        Mutant(
            "closed-connections-not-counted",
            "tidegate_fastpath_closed_total stays at 0",
            "agent/relay/conn.c",
            "\tfp_count(&conns->stats->closed[reason], 1);\n",
            "",
            ("tests/stories/capture/test_transfers.py::test_reset_of_the_server_reaches_the_client",),
        ),
        Mutant(
            "bytes-of-connections-not-counted",
            "istio_tcp_sent_bytes_total counts what was received",
            "agent/tidegate/telemetry/metrics.py",
            "flow.connections, flow.bytes_to_client, flow.bytes_to_server)",
            "flow.connections, flow.bytes_to_server, flow.bytes_to_client)",
            ("tests/unit/telemetry/test_flows.py",),
        ),
    ),
)

_COUNTED = Group(
    "what Envoy carries is counted once, with who asked whom",
    (
        Mutant(
            "carried-counted-at-each-scrape",
            "connections of the last scrape are counted again in the next",
            _CARRIED,
            "        self._read = found\n",
            "",
            ("tests/unit/telemetry/test_carried.py",),
        ),
        Mutant(
            "carried-without-a-server-never-opened",
            "connections that found no server are closed more often than opened",
            _CARRIED,
            "opened=0 if key.connected else amount, closed=amount",
            "closed=amount",
            ("tests/unit/telemetry/test_carried.py",),
        ),
        Mutant(
            "carried-never-told-apart",
            "a connection that found no server counts as one that had one",
            "agent/tidegate/compile/outbound/counted.py",
            "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
            "%UPSTREAM_HOST%",
            ("tests/envoy/test_carried_connections.py",),
        ),
        Mutant(
            "carried-of-nobody",
            "connections that Envoy carries for a pod are nobody's",
            "agent/tidegate/compile/compiler.py",
            "netns = sandbox.netns_path, sandbox.netns_cookie\n",
            "netns = sandbox.netns_path, 0\n",
            ("tests/stories/routing/test_carried_connections.py",),
        ),
    ),
)

_METRICS = Group(
    "a connection shows in the metrics while it lives, and each of its bytes once",
    (
        Mutant(
            "live-connections-untold",
            "a connection shows in no metric before it ends",
            "agent/relay/conn.c",
            "\treport_later(conn, now_ns);\n\twishes_later(conn, now_ns);\n\tfp_life_start",
            "\twishes_later(conn, now_ns);\n\tfp_life_start",
            (f"{_SUMS}::test_a_connection_that_lives_is_told_about",),
        ),
        Mutant(
            "bytes-told-twice",
            "the bytes of a connection that was told about count again when it ends",
            "agent/relay/conn.c",
            "\t*told = (struct fp_told){ .opened = true, .bytes = { bytes[FP_CLIENT], bytes[FP_SERVER] } };\n",
            "\t*told = (struct fp_told){ .opened = true, .bytes = { 0, bytes[FP_SERVER] } };\n",
            (f"{_SUMS}::test_a_connection_that_lives_is_told_about", CORPUS),
        ),
        Mutant(
            "silent-connections-told",
            "every connection is told about every few seconds although nothing moves",
            "agent/relay/conn.c",
            "\tif (!conn->told.opened || moved)\n",
            "\tif (bytes != 1u << 31)\n",
            (f"{_SUMS}::test_a_connection_that_lives_is_told_about",),
        ),
        Mutant(
            "opened-when-told-again",
            "a connection counts as opened each time that it is told about",
            "agent/relay/conn.c",
            "\t\t.opened = !told->opened,\n",
            "\t\t.opened = 1,\n",
            (f"{_SUMS}::test_a_connection_that_lives_is_told_about",),
        ),
        Mutant(
            "service-label-with-its-port",
            "destination_service carries the port, and Istio's dashboards find no such service",
            "agent/tidegate/telemetry/metrics.py",
            'host = service.rpartition(":")[0]',
            "host = service",
            ("tests/unit/telemetry/test_flows.py",),
        ),
    ),
)

GROUPS = (_TOLD, _COUNTED, _METRICS)
