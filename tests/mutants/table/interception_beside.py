"""Interception: what is dialled besides a Service's address, and what is left alone."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ADDRESSES = "tests/stories/capture/test_addresses.py"
VIP = f"{ADDRESSES}::test_service_vip_is_relayed_and_nobody_notices"
HAIRPIN = f"{ADDRESSES}::test_a_pod_reaches_itself_through_its_own_vip"
STRAIGHT = f"{ADDRESSES}::test_headless_name_and_pod_address_go_straight"
UNKNOWN = f"{ADDRESSES}::test_unknown_address_passes_untouched"
HTTP = "tests/stories/routing/test_routing.py::test_http_reaches_the_service_and_names_the_client"
HEADLESS_HTTP = "tests/stories/routing/test_routing.py::test_headless_http_name_is_routed_too"

_OTHERS = Group(
    "headless name, pod IP, own VIP (hairpin), unknown address (passes untouched)",
    (
        Mutant(
            "hairpin4-broken",
            "a pod cannot reach itself through its own Service over IPv4",
            "agent/relay/conn.c",
            "\tif (!server) {\n",
            "\tconn->end[FP_SERVER] = server;\n\tif (!server || (fp_addr_is_v4(&conn->flow.client) &&\n"
            "\t\t\tfp_addr_equal(&upstream->choice.endpoint, &conn->flow.client))) {\n",
            (f"{HAIRPIN}[4]",),
        ),
        Mutant(
            "hairpin6-broken",
            "a pod cannot reach itself through its own Service over IPv6",
            "agent/relay/conn.c",
            "\tif (!server) {\n",
            "\tconn->end[FP_SERVER] = server;\n\tif (!server || (!fp_addr_is_v4(&conn->flow.client) &&\n"
            "\t\t\tfp_addr_equal(&upstream->choice.endpoint, &conn->flow.client))) {\n",
            (f"{HAIRPIN}[6]",),
        ),
        Mutant(
            "headless-http-rows-dropped",
            "HTTP to a headless name is not routed: rules for it have no effect",
            "agent/tidegate/compile/outbound/destinations.py",
            "    return tuple(dict.fromkeys((*pods, *(endpoint.address for endpoint in written(read, service)))))\n",
            "    return ()\n",
            (HEADLESS_HTTP,),
        ),
        Mutant(
            "headless-http-balanced",
            "a client that chose a pod of a headless HTTP service is sent to any of its pods",
            "agent/tidegate/compile/envoy/clusters.py",
            "    return not lb_headless and (service.as_dialled or (service.headless and not subset))\n",
            "    return not lb_headless and service.as_dialled\n",
            ("tests/stories/routing/test_routing.py::test_the_pod_that_a_client_chose_behind_a_headless_name_answers",),
        ),
        Mutant(
            "routed-to-headless-as-dialled",
            "a request that is routed to a headless service goes to the address that was dialled, which is another's",
            "agent/tidegate/compile/registry.py",
            "    return target.headless and not subset and (target.id, number) != (dialled.id, port.port)\n",
            "    return False\n",
            (
                "tests/stories/routing/test_routing.py::test_a_route_from_one_service_to_a_headless_one_reaches_its_pods",
            ),
        ),
        Mutant(
            "headless-tcp-captured",
            "TCP to a pod of a headless service takes the way through the fast path",
            "agent/tidegate/compile/outbound/destinations.py",
            "    return Tier.DIRECT if service.headless and not _ruled(read, service, port) else Tier.FASTPATH\n",
            "    return Tier.FASTPATH\n",
            (STRAIGHT,),
        ),
        Mutant(
            "pod-addresses-unknown",
            "addresses of pods are not in the kernel's table and count as unknown destinations",
            "agent/tidegate/compile/outbound/destinations.py",
            "return None if all(pod.host_network for pod in pods) else Destination(address, 0, Tier.DIRECT, 0)",
            "return None",
            (STRAIGHT,),
        ),
        Mutant(
            "unknown-address-refused",
            "a connection to an address that the mesh does not know is refused",
            "bpf/core/connect_core.h",
            "\tif (!dest)\n\t\treturn tg_connect_unknown(out, pod, TG_PASS_UNKNOWN);",
            "\tif (!dest)\n\t\treturn tg_connect_verdict(out, TG_DENY_STATE);",
            (f"{UNKNOWN}[4]",),
        ),
        Mutant(
            "unknown-address-captured",
            "a connection to an address that the mesh does not know is sent to the fast path",
            "bpf/core/connect_core.h",
            "\tif (!dest)\n\t\treturn tg_connect_unknown(out, pod, TG_PASS_UNKNOWN);",
            "\tstatic const struct tg_dest any = { .tier = TG_TIER_FASTPATH };\n\n\tif (!dest)\n\t\tdest = &any;",
            (f"{UNKNOWN}[6]",),
        ),
    ),
)

_ALONE = Group(
    "outside an enrolled pod, without the label and on localhost nothing is touched",
    (
        Mutant(
            "opt-out-ignored",
            "a pod labelled istio.io/dataplane-mode=none is captured",
            "agent/tidegate/compile/enrolment.py",
            'if pod.labels.get(_MODE) == "none":',
            "if False:",
            (f"{ADDRESSES}::test_pods_without_the_mesh_are_untouched[opted-out-default]",),
        ),
        Mutant(
            "namespace-label-not-needed",
            "pods of a namespace without the label are captured",
            "agent/tidegate/compile/enrolment.py",
            '    return Enrolment(False, f"namespace {pod.id.namespace} has no label',
            '    return Enrolment(True, f"namespace {pod.id.namespace} has no label',
            (f"{ADDRESSES}::test_pods_without_the_mesh_are_untouched[outsider-plain]",),
        ),
        Mutant(
            "strangers-refused",
            "connections of processes outside any enrolled pod are refused",
            "bpf/core/connect_core.h",
            "\t\treturn TG_PASS_NOT_ENROLLED;",
            "\t\treturn TG_DENY_STATE;",
            (f"{ADDRESSES}::test_pods_without_the_mesh_are_untouched",),
        ),
        Mutant(
            "hooks-above-the-nodes-cgroup",
            "the hooks run for processes that are no part of this node's pods",
            "agent/tidegate/bpf/hooks.py",
            "        return {hook.program: pods}\n",
            "        return {hook.program: pods.parent}\n",
            ("tests/bpf/test_connect.py::TestLeftAlone::test_process_outside_of_the_nodes_cgroup",),
        ),
        Mutant(
            "localhost-refused",
            "a pod cannot connect to its own localhost",
            "bpf/core/connect_core.h",
            "\t\treturn TG_PASS_LOOPBACK;",
            "\t\treturn TG_DENY_CAPTURE_ADDRESS;",
            (f"{ADDRESSES}::test_localhost_of_a_pod_is_its_own",),
        ),
        Mutant(
            "all-of-127-is-a-capture-address",
            "127.0.0.1 counts as a capture address",
            "bpf/core/addr_core.h",
            "tg_addr_word(&fastpath4, 3)) & TG_BE32(0xffff0000U));",
            "tg_addr_word(&fastpath4, 3)) & TG_BE32(0xff000000U));",
            (f"{ADDRESSES}::test_localhost_of_a_pod_is_its_own",),
        ),
        Mutant(
            "localhost-looked-up",
            "localhost is looked up like any destination, so a Service with such an address would take it over",
            "bpf/core/connect_core.h",
            "\tif (tg_addr_is_loopback(&in->dst))\n\t\treturn TG_PASS_LOOPBACK;\n",
            "",
            ("tests/bpf/test_connect.py::test_localhost_of_the_pod_is_its_own",),
        ),
        Mutant(
            "agent-captures-itself",
            "connections of the agent and Envoy inside a pod's netns are captured as well",
            "bpf/core/connect_core.h",
            "\t\treturn TG_PASS_EXEMPT_CGROUP;",
            "\t\t(void)0;",
            ("tests/bpf/test_connect.py::TestLeftAlone::test_agents_and_envoys_cgroups",),
            raises=("TimeoutError",),
        ),
    ),
)

_CAPTURE = Group(
    "a connection straight to a capture address is refused",
    (
        Mutant(
            "capture-address-guard-of-connect-off",
            "the connect hook lets a pod dial a capture address; only sk_lookup resets it",
            "bpf/core/connect_core.h",
            "\tif (tg_addr_is_capture(&in->dst))\n\t\treturn TG_DENY_CAPTURE_ADDRESS;\n",
            "",
            (f"{ADDRESSES}::test_a_capture_address_cannot_be_dialled",),
        ),
        Mutant(
            "capture-address-guard-of-lookup-off",
            "a process that no connect hook sees reaches the capture listeners of a pod",
            "bpf/lookup.bpf.c",
            "\tif (reason == TG_LOOKUP_DENY_UNRECORDED)\n\t\treturn SK_DROP;\n",
            "",
            (
                "tests/bpf/test_lookup.py::test_unrecorded_connection_is_reset",
                f"{ADDRESSES}::test_who_slips_past_the_connect_hook_is_reset_at_a_capture_address",
            ),
        ),
        Mutant(
            "lookup-guard-never-attached",
            "enrolled pods are not guarded by sk_lookup",
            "agent/tidegate/dataplane/shadow.py",
            "            if cookie not in self.guards:\n",
            "            if False:\n",
            (f"{ADDRESSES}::test_who_slips_past_the_connect_hook_is_reset_at_a_capture_address",),
        ),
        Mutant(
            "connect-does-not-refuse",
            "the connect hook counts a refusal and lets the connection go on; only sk_lookup resets it",
            "bpf/connect.bpf.c",
            "\tif (tg_has_set_retval)\n\t\tbpf_set_retval(-TG_ECONNREFUSED);\n"
            "\treturn 0; /* EPERM unless a return value was set */",
            "\treturn 1;",
            (f"{ADDRESSES}::test_a_capture_address_cannot_be_dialled",),
        ),
    ),
)

_FILTERS = Group(
    "iptables-save and nft list ruleset are empty",
    (
        Mutant(
            "iptables-rule-in-a-pod",
            "a pod gets an iptables rule",
            "lab/tidegate_lab/sandbox.py",
            '    await netns.ip(path, ["link set lo up"])\n',
            '    await netns.ip(path, ["link set lo up"])\n'
            '    inside_it = [launch.tool("ip"), "netns", "exec", path.name]\n'
            '    await netns.run([*inside_it, "iptables", "-A", "OUTPUT", "-j", "ACCEPT"], "mutant")\n',
            ("lab/tests/stories/test_leftovers.py::test_no_packet_filter_rule_exists_anywhere",),
        ),
        Mutant(
            "nft-table-on-the-machine",
            "the lab makes an nftables table on the machine",
            "lab/tidegate_lab/sandbox.py",
            '    await netns.ip(path, ["link set lo up"])\n',
            '    await netns.ip(path, ["link set lo up"])\n'
            '    await netns.run([launch.tool("nft"), "add", "table", "inet", "mutant"], "mutant")\n',
            ("lab/tests/stories/test_leftovers.py::test_no_packet_filter_rule_exists_anywhere",),
        ),
    ),
)

GROUPS = (_OTHERS, _ALONE, _CAPTURE, _FILTERS)
