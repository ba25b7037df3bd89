"""What tcp and tls routes, and the limits of TCP connections, promise."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ROUTES = "tests/relay/test_routes.py"
COMPILED = "tests/unit/compile/test_l4_routes.py"
HELLO = "agent/relay/hello.c"

CONN = "tests/relay/test_unit.py::test_c[conn_test-address,undefined]"

_RELAY = Group(
    "routes in the relay",
    (
        Mutant(
            "an-open-upstream-is-waited-for",
            "a server that has answered already gets the first bytes a turn later, and wakes for each",
            "agent/relay/upstream.c",
            "\t\t\tlook_at_once(upstream);\n",
            "\t\t\tif (0)\n\t\t\t\tlook_at_once(upstream);\n",
            (CONN,),
        ),
        Mutant(
            "bytes-that-were-seen-are-waited-for",
            "a first message that is here leaves a turn later",
            "agent/relay/stream_plain.c",
            "\tif (n > 0) /* they were not really read */\n\t\tstream->readable = true;\n",
            "",
            (CONN,),
        ),
        Mutant(
            "first-record-only",
            "a first message that is cut into records has no name",
            HELLO,
            "r->wrong = !r->record || r->record > RECORD_MOST;",
            "r->wrong = r->record < 64;",
            (f"{ROUTES}::test_a_first_message_may_come_in_pieces",),
        ),
        Mutant(
            "name-in-upper-case",
            "a name in upper case is another one",
            HELLO,
            "c = (uint8_t)(c - 'A' + 'a');",
            "c = (uint8_t)c;",
            (f"{ROUTES}::test_the_name_in_the_first_message_says_where",),
        ),
        Mutant(
            "everybody-sees-the-first-view",
            "a route for some clients is for all",
            "agent/relay/routes.c",
            "if (!view->clients || has_client(routes, view, netns_cookie))",
            "if (netns_cookie || has_client(routes, view, netns_cookie))",
            (f"{ROUTES}::test_a_view_is_for_its_clients",),
        ),
        Mutant(
            "first-target-gets-all",
            "weights of a tcp route do nothing",
            "agent/relay/routes.c",
            "uint64_t point = (uint64_t)(((__uint128_t)draw * rule->weight) >> 32);",
            "uint64_t point = draw ? 0 : 0;",
            (f"{ROUTES}::test_connections_are_divided_by_weight",),
        ),
        Mutant(
            "never-left-out",
            "an endpoint that refuses is tried for ever",
            "agent/relay/health.c",
            "if (!rule->failures || failures < rule->failures)",
            "if (failures)",
            (f"{ROUTES}::test_an_endpoint_to_which_connecting_fails_is_left_out",),
        ),
        Mutant(
            "idle-is-old",
            "a connection on which something moves is ended as idle",
            "agent/relay/life.c",
            "if (bytes != life->bytes)\n\t\tlife->moved_ns = now_ns;",
            "if (!bytes)\n\t\tlife->moved_ns = now_ns;",
            (f"{ROUTES}::test_a_connection_that_is_used_is_not_idle",),
        ),
    ),
)

_COMPILED = Group(
    "routes as they are compiled",
    (
        Mutant(
            "tcp-routes-in-order-of-text",
            "a wildcard takes what a later route asks for by its name",
            "agent/tidegate/compile/l4/routes.py",
            "    pairs.sort(key=lambda pair: pair[0])\n",
            "",
            (f"{COMPILED}::test_the_more_exact_name_wins_wherever_it_stands",),
        ),
        Mutant(
            "no-default-of-tcp",
            "what no tcp route takes is reset",
            "agent/tidegate/compile/l4/views.py",
            "if port.protocol is not Protocol.TLS and (out[-1].names or out[-1].subnets):",
            "if port.protocol is Protocol.TLS and (out[-1].names or out[-1].subnets):",
            (f"{COMPILED}::test_what_no_tcp_route_takes_goes_to_the_service",),
        ),
    ),
)

GROUPS = (_RELAY, _COMPILED)
