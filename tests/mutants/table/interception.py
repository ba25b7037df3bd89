"""Connections over every kind of socket: which are captured, who sees which address, which are left alone."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ADDRESSES = "tests/stories/capture/test_addresses.py"
VIP = f"{ADDRESSES}::test_service_vip_is_relayed_and_nobody_notices"
HAIRPIN = f"{ADDRESSES}::test_a_pod_reaches_itself_through_its_own_vip"
STRAIGHT = f"{ADDRESSES}::test_headless_name_and_pod_address_go_straight"
UNKNOWN = f"{ADDRESSES}::test_unknown_address_passes_untouched"
HTTP = "tests/stories/routing/test_routing.py::test_http_reaches_the_service_and_names_the_client"
FORGED = "tests/stories/routing/test_routing.py::test_the_address_decides_and_no_header_that_a_pod_can_send"
HEADLESS_HTTP = "tests/stories/routing/test_routing.py::test_headless_http_name_is_routed_too"

_SERVICE_VIP = Group(
    "a Service VIP is captured over IPv4, IPv6 and v4-mapped sockets, also IPV6_V6ONLY",
    (
        Mutant(
            "v4-capture-off",
            "an IPv4 connection to a Service is not captured: it goes to an address that leads nowhere",
            "bpf/connect.bpf.c",
            "\t\tctx->user_ip4 = tg_addr_word(&out.to, 3);\n\t\tctx->user_port = out.to_port_be;\n",
            "",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "v6-capture-off",
            "an IPv6 connection to a Service is not captured",
            "bpf/connect.bpf.c",
            "\tif (out.action == TG_ACTION_REDIRECT) {\n\t\tctx->user_ip6[0]",
            "\tif (0) {\n\t\tctx->user_ip6[0]",
            (f"{VIP}[6]",),
        ),
        Mutant(
            "mapped-capture-off",
            "an IPv4 destination on an AF_INET6 socket is not captured",
            "bpf/connect.bpf.c",
            "\tTG_CTX_ADDR6(&in.dst, ctx->user_ip6);\n",
            "\tTG_CTX_ADDR6(&in.dst, ctx->user_ip6);\n\tif (tg_addr_is_v4(&in.dst))\n\t\treturn 1;\n",
            (f"{VIP}[mapped]",),
        ),
        Mutant(
            "v6-capture-address-missing",
            "the pod's lo gets no IPv6 capture address, so IPv6 connections are not captured",
            "agent/tidegate/dataplane/capture.py",
            "    return netlink.add_to_loopback(CAPTURE6_PREFIX)\n",
            "    return False\n",
            (f"{VIP}[6]",),
        ),
        Mutant(
            "v6-capture-leaves-from-nobodys-address",
            "captured IPv6 connections do not come from ::1, so ports in TIME_WAIT are not used again for a minute",
            "agent/tidegate/linux/netlink.py",
            "rtnetlink.REPLACE, _route(prefix, source=_LOOPBACK6))",
            "rtnetlink.REPLACE, _route(prefix))",
            ("tests/stories/capture/test_time_wait.py",),
        ),
        Mutant(
            "v6only-sent-to-v4-address",
            "IPv6 connections are sent to the v4-mapped capture address, which IPV6_V6ONLY sockets cannot reach",
            "bpf/core/addr_core.h",
            "tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy6 : &fastpath6);",
            "(void)fastpath6, tg_addr_copy(to, tier == TG_TIER_ENVOY ? &envoy6 : &fastpath4);",
            (f"{VIP}[v6only]",),
        ),
        Mutant(
            "v6-destinations-not-written",
            "only IPv4 addresses of Services reach the kernel",
            "agent/tidegate/dataplane/appliers/destinations.py",
            "for row in changed.put}",
            "for row in changed.put if row.address.version == 4}",
            (f"{VIP}[6]",),
        ),
        Mutant(
            "protocol-not-asked-for",
            "a row of UDP captures TCP connections to the same address and port",
            "bpf/core/connect_core.h",
            "key->protocol = (uint8_t)in->protocol;\n\tkey->scope = row",
            "key->protocol = TG_PROTOCOL_UDP;\n\tkey->scope = row",
            ("tests/bpf/test_connect.py::test_a_row_of_another_protocol_is_not_for_tcp",),
        ),
        Mutant(
            "verifier-cost-grows",
            "a program costs the verifier a multiple of what it did, and nobody notices before a kernel refuses it",
            "bpf/core/addr_core.h",
            "return !(tg_addr_word(addr, 0) |",
            "for (int i = 0; i < 4; i++)\n		if (addr->ip[i])\n			return 0;\n	return !(",
            ("tests/bpf/test_verifier_cost.py::test_cost",),
        ),
        Mutant(
            "redirects-not-counted",
            "verdicts of the kernel programs are not counted: tidegate_verdicts_total stays at 0",
            "bpf/include/tg_maps.h",
            "__sync_fetch_and_add(count, 1);",
            "__sync_fetch_and_add(count, 0);",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "no-vip-in-the-fast-path",
            "the fast path is never told about Services: captured TCP connections are reset",
            "agent/tidegate/dataplane/appliers/relay.py",
            "        services = (*plan.l4, *left)\n",
            "        services: tuple[L4Service, ...] = ()\n",
            (f"{VIP}[4]",),
        ),
    ),
)

_NAMES = Group(
    "the client's getpeername is what it dialled and its getsockname is the pod's address",
    (
        Mutant(
            "peername4-not-restored",
            "getpeername of a captured IPv4 connection tells the capture address",
            "bpf/names.bpf.c",
            "\ttg_peer(ctx, &kernel, &out);\n\treturn tg_show4(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show4(ctx, &out);",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "peername6-not-restored",
            "getpeername of a captured IPv6 connection tells the capture address",
            "bpf/names.bpf.c",
            "\ttg_peer(ctx, &kernel, &out);\n\treturn tg_show6(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show6(ctx, &out);",
            (f"{VIP}[6]", f"{VIP}[v6only]"),
        ),
        Mutant(
            "peername-of-mapped-not-restored",
            "getpeername of a captured v4-mapped connection tells the capture address",
            "bpf/names.bpf.c",
            "\ttg_peer(ctx, &kernel, &out);\n\treturn tg_show6(ctx, &out);",
            "\tif (tg_addr_is_v4(&kernel))\n\t\treturn 1;\n"
            "\ttg_peer(ctx, &kernel, &out);\n\treturn tg_show6(ctx, &out);",
            (f"{VIP}[mapped]",),
        ),
        Mutant(
            "peername-is-some-other-address",
            "getpeername tells the pod's own address instead of the one that was dialled",
            "bpf/core/names_core.h",
            "tg_name_show(out, TG_NAME_PEER_RESTORED, &dialled->dst,",
            "tg_name_show(out, TG_NAME_PEER_RESTORED, &dialled->client,",
            (VIP,),
        ),
        Mutant(
            "peer-port-not-restored",
            "getpeername tells the listener's port instead of the one that was dialled",
            "bpf/core/names_core.h",
            "&dialled->dst, dialled->dst_port_be);",
            "&dialled->dst, 0);",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "sockname4-not-restored",
            "getsockname of a captured IPv4 connection tells 127.0.0.1",
            "bpf/names.bpf.c",
            "\ttg_own(ctx, &kernel, &out);\n\treturn tg_show4(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show4(ctx, &out);",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "sockname6-not-restored",
            "getsockname of a captured IPv6 connection tells the capture address, also on IPV6_V6ONLY sockets",
            "bpf/names.bpf.c",
            "\ttg_own(ctx, &kernel, &out);\n\treturn tg_show6(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show6(ctx, &out);",
            (f"{VIP}[v6only]",),
        ),
        Mutant(
            "sockname-hides-the-bound-address",
            "an application that bound a source address of its own is told the pod's first address instead",
            "bpf/core/connect_core.h",
            "\tif (tier != TG_TIER_ENVOY && !tg_addr_is_any(&in->bound)",
            "\tif (tier == 0 && !tg_addr_is_any(&in->bound)",
            ("tests/bpf/test_connect.py::test_bound_address_is_the_clients_address_for_the_fast_path",),
        ),
    ),
)

_SERVER_SEES = Group(
    "for TCP the server sees the client pod's address, for HTTP it gets it in X-Forwarded-For",
    (
        Mutant(
            "upstream-in-the-nodes-netns",
            "the fast path connects from the node instead of the client pod: the server sees the node's address",
            "agent/relay/dial.c",
            "int rc = fp_netns_enter(visit, from->netns_fd);",
            "int rc = visit ? 0 : -1;",
            (f"{VIP}[4]",),
        ),
        Mutant(
            "netns-left-behind",
            "after one pod's connection the worker stays in its netns and the next pod's connection starts there",
            "agent/relay/netns.c",
            "\tif (visit->here_fd == netns_fd)\n\t\treturn 0;",
            "\tif (visit->here_fd != FP_AT_HOME)\n\t\treturn 0;",
            (f"{VIP}[4]", HAIRPIN),
            more=(
                (
                    "agent/relay/netns.c",
                    "\tif (visit->here_fd != FP_AT_HOME)\n\t\tvisit->here_fd = setns",
                    "\tif (visit->here_fd == FP_ASTRAY)\n\t\tvisit->here_fd = setns",
                ),
            ),
        ),
        Mutant(
            "source-bind-off",
            "a source address that the application bound is lost: the server sees the pod's first address",
            "agent/relay/flow.c",
            "\t\tret_flow->source = record.client;\n",
            "\t\t(void)ret_flow;\n",
            ("tests/relay/test_relay.py::test_the_applications_own_source_address_is_kept",),
        ),
        Mutant(
            "forwarded-for-off",
            "HTTP servers do not learn the client's address",
            "agent/tidegate/compile/envoy/filters.py",
            '        ("x-forwarded-for", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", append),\n',
            "",
            (HTTP,),
        ),
        Mutant(
            "envoy-not-told-the-client4",
            "X-Forwarded-For says 127.0.0.1 for IPv4 clients",
            "bpf/names.bpf.c",
            "\ttg_name_client(&out, tg_accepted(ctx), &kernel, (uint16_t)ctx->user_port);\n"
            "\treturn tg_show4(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show4(ctx, &out);",
            (HTTP,),
        ),
        Mutant(
            "envoy-not-told-the-client6",
            "X-Forwarded-For says a capture address for IPv6 clients",
            "bpf/names.bpf.c",
            "\ttg_name_client(&out, tg_accepted(ctx), &kernel, (uint16_t)ctx->user_port);\n"
            "\treturn tg_show6(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show6(ctx, &out);",
            (HTTP,),
        ),
        Mutant(
            "dialled-address-forged",
            "a pod chooses by a header of its own where Envoy sends its request",
            "agent/tidegate/compile/envoy/filters.py",
            'overwrite, append = "OVERWRITE_IF_EXISTS_OR_ADD"',
            'overwrite, append = "ADD_IF_ABSENT"',
            (FORGED,),
        ),
        Mutant(
            "private-headers-upstream",
            "endpoints see the headers by which Envoy finds routes",
            "agent/tidegate/compile/outbound/routes.py",
            '            "request_headers_to_remove": list(private.PRIVATE_HEADERS),\n',
            "",
            (FORGED,),
        ),
        Mutant(
            "no-host-unknown",
            "a request without a host reaches the endpoint as one for a host that nobody has",
            "agent/tidegate/compile/envoy/http_action.py",
            '        route["route"].setdefault("host_rewrite_literal", host)\n',
            "        pass\n",
            ("tests/stories/routing/test_routing.py::test_a_client_that_names_no_host_means_the_service",),
        ),
        Mutant(
            "original-destination-unanswered",
            "Envoy does not learn what was dialled and cannot choose the Service",
            "bpf/sockopt.bpf.c",
            "if (ctx->optname != TG_SO_ORIGINAL_DST ||",
            "if (ctx->optname == TG_SO_ORIGINAL_DST ||",
            (HTTP,),
        ),
    ),
)

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

GROUPS = (_SERVICE_VIP, _NAMES, _SERVER_SEES, _OTHERS, _ALONE, _CAPTURE, _FILTERS)
