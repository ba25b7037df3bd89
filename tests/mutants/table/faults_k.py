"""What cannot be served is not captured, and what the kernel's books say of connections alike."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

WRITTEN = "tests/stories/capture/test_written_endpoints.py"
FOUND = "tests/unit/compile/outbound/test_destinations.py"

_UNSERVED = Group(
    "a Service is captured only if it is known who serves it, and refused if it is known that nobody does",
    (
        Mutant(
            "unknown-endpoints-captured",
            "a Service without selector and slices is captured, and its connections are lost",
            "agent/tidegate/compile/registry.py",
            "    return bool(service.selector) or read(SLICES_BY_SERVICE, service.id.fqdn) is not None\n",
            "    return True\n",
            (
                f"{FOUND}::test_a_virtual_address_of_which_nothing_is_known_is_left_alone",
                f"{WRITTEN}::test_a_virtual_address_of_which_nothing_is_known_is_left_to_who_knows_it",
            ),
        ),
        Mutant(
            "slices-that-change-unseen",
            "Envoy has the addresses of before until something else changes",
            "agent/tidegate/compile/compiler.py",
            "        facts.slices_by_service,\n        facts.nodes",
            "        facts.nodes",
            ("tests/unit/compile/envoy/test_followed_endpoints.py::test_who_is_written_down_anew_is_told_anew",),
        ),
        Mutant(
            "slices-unread",
            "endpoints that are written down are not used",
            "agent/tidegate/compile/registry.py",
            "            yield from one.endpoints\n",
            "            yield from ()\n",
            (
                f"{FOUND}::test_a_service_whose_endpoints_are_written_down_is_served",
                f"{WRITTEN}::test_a_database_outside_of_the_cluster_is_reached_by_its_service",
            ),
        ),
        Mutant(
            "draining-always-taken",
            "endpoints that end get new connections although others are ready",
            "agent/tidegate/compile/registry.py",
            "    ready = [(e, number) for e, number in those if e.ready]\n",
            "    ready = [(e, number) for e, number in those if e.ready or e.draining]\n",
            (f"{FOUND}::test_conditions_mean_what_they_mean_to_kube_proxy",),
        ),
        Mutant(
            "nobody-ready-accepted",
            "connect() to a Service of which nobody is ready succeeds, and is reset later",
            "agent/tidegate/compile/outbound/destinations.py",
            "            tier = Tier.REFUSE if (address, claim.port.port) in empty else there\n",
            "            tier = there\n",
            (
                f"{FOUND}::test_what_no_endpoint_serves_is_refused_by_the_kernel_but_http_may_be_routed_elsewhere",
                f"{WRITTEN}::test_nobody_is_ready_so_connect_is_refused_and_udp_is_not_our_business",
            ),
        ),
        Mutant(
            "refusal-passes",
            "the connect hook lets a connection out of which it knows that nobody serves it",
            "bpf/core/connect_core.h",
            " || reason == TG_DENY_NO_ENDPOINT ||",
            " ||",
            ("tests/bpf/test_decisions.py::test_kernel_and_oracle_agree_on_random_calls",),
        ),
    ),
)

RECORDS = "tests/bpf/test_records.py"
_ABA = Group(
    "a record goes with its connection, and with no other of the same 4-tuple",
    (
        Mutant(
            "older-end-removes-newer-record",
            "the end that an earlier connection left behind removes the record of the next one from the same port",
            "bpf/sockops.bpf.c",
            "\tif (!flow || flow->id != id)\n",
            "\tif (!flow || (flow->id != id && !flow->id))\n",
            (f"{RECORDS}::test_a_source_port_is_used_again_while_the_other_end_of_its_last_connection_is_open",),
        ),
        Mutant(
            "accepted-end-without-id",
            "the listener's end does not know its record, which stays when both ends are gone",
            "bpf/sockops.bpf.c",
            "\t\tend->id = flow->id;\n",
            "\t\tend->id = 0;\n",
            (f"{RECORDS}::test_client_that_sends_and_closes_before_it_is_accepted",),
        ),
    ),
)

_NAMES = Group(
    "who a connection is by is told by what cannot be chosen: the namespace, the record",
    (
        Mutant(
            "client-by-address",
            "a pod that binds its neighbour's address is counted as the neighbour",
            "agent/tidegate/telemetry/flows.py",
            "clients.workload(known, event.netns_cookie), workload_at(known, event.endpoint)",
            "workload_at(known, event.client), workload_at(known, event.endpoint)",
            (
                "tests/unit/telemetry/test_flows.py::test_a_pod_that_binds_a_neighbours_address_is_counted_as_itself",
                "tests/stories/hostile/test_hostile_pod.py::"
                "test_what_a_pod_does_under_its_neighbours_address_is_counted_as_its_own",
            ),
        ),
        Mutant(
            "multipath-sees-the-capture-address",
            "getpeername on a socket of multipath TCP tells the capture address",
            "bpf/names.bpf.c",
            "\tif (sk->protocol != TG_IPPROTO_MPTCP)\n",
            "\tif (sk->protocol == TG_IPPROTO_MPTCP)\n",
            (f"{RECORDS}::test_a_socket_of_multipath_tcp_is_told_what_it_dialled",),
        ),
        Mutant(
            "multipath-forgets-its-own-address",
            "getsockname on a socket of multipath TCP whose connection has ended tells loopback",
            "bpf/names.bpf.c",
            "\tif (pod && tg_addr_is_capture(&conn.remote))\n",
            "\tif (pod && !tg_addr_is_capture(&conn.remote))\n",
            (f"{RECORDS}::test_a_socket_of_multipath_tcp_knows_its_own_address_when_its_connection_has_ended",),
        ),
        Mutant(
            "multipath-to-localhost-is-taken-for-captured",
            "getsockname on a socket of multipath TCP that is connected to localhost tells the pod's address",
            "bpf/names.bpf.c",
            "\tif (pod && tg_addr_is_capture(&conn.remote))\n",
            "\tif (pod)\n",
            (f"{RECORDS}::test_a_socket_of_multipath_tcp_that_was_not_captured_has_the_kernels_address",),
        ),
        Mutant(
            "the-agents-own-group-is-exempt",
            "an agent that starts in the root cgroup exempts all clients that are there, too",
            "agent/tidegate/app.py",
            "        agent_cgroup=relay_cgroup,",
            "        agent_cgroup=own_cgroup(),",
            (
                "tests/stories/hostile/test_least_privilege.py::"
                "test_a_client_in_the_same_cgroup_as_the_agent_is_captured",
            ),
        ),
    ),
)

_PORTS = Group(
    "one port of a pod is ours, and none that an application would want",
    (
        Mutant(
            "listeners-on-client-ports",
            "our listeners are on ports that the kernel gives to clients",
            "agent/tidegate/dataplane/capture.py",
            "    for number in chain(above, below, within):",
            "    for number in within if lowest > LOWEST_PORT else chain(above, below, within):",
            ("tests/unit/dataplane/test_capture.py", "tests/stories/capture/test_ports.py"),
        ),
        Mutant(
            "declared-ports-taken",
            "a port on which a container says that it listens is taken from it",
            "agent/tidegate/dataplane/cycle.py",
            "    ports = frozenset(p.port for p in pod.ports) if pod else frozenset[int]()\n",
            "    ports = frozenset[int]()\n",
            ("tests/stories/capture/test_ports.py::test_a_port_that_the_pod_declares_is_the_pods",),
        ),
    ),
)

CONNECT = "tests/bpf/test_connect.py"
_SPREAD = Group(
    "each destination has a capture address of its own",
    (
        Mutant(
            "one-capture-address",
            "all destinations of a tier share one capture address, and so the ports of the pod",
            "bpf/core/connect_core.h",
            "\tif (in->spread)\n",
            "\tif (0)\n",
            (
                f"{CONNECT}::test_sockets_bound_to_one_source_port_may_be_connected_to_several_services",
                "tests/stories/capture/test_ports.py::test_one_source_port_is_connected_to_several_services",
            ),
        ),
        Mutant(
            "spread-is-not-in-the-key",
            "two connections of one source port have one record",
            "bpf/core/flow_core.h",
            "\tkey->tier = tier | (tg_addr_spread(listener) << 8);\n",
            "\tkey->tier = tier;\n",
            (f"{CONNECT}::test_sockets_bound_to_one_source_port_may_be_connected_to_several_services",),
        ),
        Mutant(
            "listeners-of-anybody",
            "who listens on the address of a destination gets its captured connections",
            "bpf/lookup.bpf.c",
            "\treturn tg_addr_spread(&conn.local) &&",
            "\treturn reason == TG_REASON_COUNT &&",
            (f"{CONNECT}::test_an_application_cannot_stand_in_for_a_listener",),
            raises=("TimeoutError",),
        ),
    ),
)

GROUPS = (_UNSERVED, _ABA, _NAMES, _PORTS, _SPREAD)
