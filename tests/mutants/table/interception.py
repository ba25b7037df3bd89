"""Connections over every kind of socket: which are captured, who sees which address, which are left alone."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ADDRESSES = "tests/stories/capture/test_addresses.py"
VIP = f"{ADDRESSES}::test_service_vip_is_relayed_and_nobody_notices"
HAIRPIN = f"{ADDRESSES}::test_a_pod_reaches_itself_through_its_own_vip"
HTTP = "tests/stories/routing/test_routing.py::test_http_reaches_the_service_and_names_the_client"
FORGED = "tests/stories/routing/test_routing.py::test_the_address_decides_and_no_header_that_a_pod_can_send"

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
            "\ttg_client(ctx, &kernel, &out);\n\treturn tg_show4(ctx, &out);",
            "\ttg_name_keep(&out);\n\treturn tg_show4(ctx, &out);",
            (HTTP,),
        ),
        Mutant(
            "envoy-not-told-the-client6",
            "X-Forwarded-For says a capture address for IPv6 clients",
            "bpf/names.bpf.c",
            "\ttg_client(ctx, &kernel, &out);\n\treturn tg_show6(ctx, &out);",
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

GROUPS = (_SERVICE_VIP, _NAMES, _SERVER_SEES)
