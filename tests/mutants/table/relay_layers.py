"""The relay: whom it dials, and how it stands in layers."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

BALANCING = "tests/relay/test_balancing.py"
CORPUS = "tests/relay/test_fuzz_corpus.py::test_corpus[relay]"
PIPE = "agent/relay/pipe.c"
LB = "agent/relay/lb.c"
UNIT = "tests/relay/test_unit.py"
INCLUDES = "tests/relay/test_includes.py"

_BALANCE = Group(
    "round robin, random, least connections; endpoints that do not answer; none at all",
    (
        Mutant(
            "round-robin-is-random",
            "round robin takes endpoints by chance",
            LB,
            "\tif (service->lb == FP_LB_ROUND_ROBIN)\n",
            "\tif (service->lb > FP_LB_RANDOM)\n",
            (f"{BALANCING}::test_round_robin_is_exact_over_all_workers",),
        ),
        Mutant(
            "round-robin-starts-over",
            "every change of configuration begins with the first endpoint again",
            "agent/relay/engine.c",
            "\tcarry_cursors(atomic_load(&engine->shared.image), image);\n",
            "\t(void)carry_cursors;\n",
            (f"{BALANCING}::test_round_robin_goes_on_across_images",),
        ),
        Mutant(
            "random-is-the-first",
            "random always takes the first endpoint",
            LB,
            "\t\tturn = below(random, turns);\n",
            "\t\tturn = 0;\n",
            (f"{BALANCING}::test_random_is_even",),
        ),
        Mutant(
            "least-request-does-not-look",
            "least request ignores how many connections an endpoint has",
            LB,
            "\treturn load_a * b->weight <= load_b * a->weight;\n",
            "\treturn load_a + load_b > 0 || a == b;\n",
            (f"{BALANCING}::test_least_request_avoids_the_busy_endpoint",),
        ),
        Mutant(
            "weights-of-endpoints-ignored",
            "an endpoint of weight 30 gets as much as one of weight 10",
            "agent/relay/turns.c",
            "\t\treturn (uint32_t)(weight / w->divisor);\n",
            "\t\treturn 1;\n",
            (f"{BALANCING}::test_round_robin_honours_weights",),
        ),
        Mutant(
            "refusing-endpoint-not-left",
            "a connection fails with the first endpoint that refuses it although others would answer",
            LB,
            "\tfor (uint32_t i = 0; i < turns && is_barred(&barred, choice); i++)\n",
            "\tfor (uint32_t i = turns; i < turns && is_barred(&barred, choice); i++)\n",
            (
                f"{BALANCING}::test_another_endpoint_is_tried_before_any_byte_moved",
                BALANCING,
                "tests/relay/test_unit.py",
            ),
        ),
        Mutant(
            "no-endpoint-crashes",
            "a Service without a ready endpoint brings the fast path down",
            LB,
            "\tif (!turns)\n\t\treturn NULL;\n",
            "",
            ("tests/relay/test_unit.py",),
        ),
        Mutant(
            "balancing-of-the-rule-ignored",
            "a DestinationRule's simple: RANDOM or ROUND_ROBIN has no effect on TCP",
            "agent/tidegate/compile/l4/settings.py",
            "    return _BALANCING.get(chosen.balancing, LoadBalancing.LEAST_REQUEST)\n",
            "    return LoadBalancing.LEAST_REQUEST\n",
            ("tests/unit/compile/outbound/test_destinations.py",),
        ),
        Mutant(
            "unready-pods-get-connections",
            "a pod that is not ready gets connections",
            "agent/tidegate/compile/registry.py",
            "for pair in pods if pair[0].ready or service.publish_not_ready]",
            "for pair in pods]",
            ("tests/unit/compile",),
        ),
    ),
)

_LAYERS = Group(
    "the relay stands in layers: loop, stream, pipe, upstream, connection, worker",
    (
        Mutant(
            "pipe-knows-the-connection",
            "a lower layer includes a higher one, and neither can be used without the other any more",
            PIPE,
            '#include "pipe.h"\n',
            '#include "pipe.h"\n#include "conn.h"\n',
            (f"{INCLUDES}::test_modules_include_only_what_stands_before_them",),
        ),
        Mutant(
            "engine-calls-its-users",
            "two modules of the relay need each other again, by way of a header that is neither's",
            "agent/relay/engine.c",
            "	free_sandboxes(engine);\n",
            "	(void)fp_sandboxes_look(engine);\n	free_sandboxes(engine);\n",
            (f"{INCLUDES}::test_modules_call_only_what_stands_before_them",),
        ),
        Mutant(
            "pipe-knows-sockets",
            "what holds for sockets only is used where a stream may be something else",
            PIPE,
            "#include <stdlib.h>\n",
            "#include <stdlib.h>\n#include <sys/socket.h>\nenum { LAST = MSG_MORE };\n",
            (f"{INCLUDES}::test_what_one_module_knows_stands_nowhere_else",),
        ),
        Mutant(
            "forgotten-source-called",
            "an event that was already fetched is told to a connection that is gone",
            "agent/relay/loop.c",
            "\t\t\tloop->batch[i].data.ptr = NULL;\n",
            "\t\t\t(void)source;\n",
            (UNIT,),
        ),
        Mutant(
            "timers-in-the-order-of-their-start",
            "a short timeout that was started behind a long one waits for it",
            "agent/relay/loop.c",
            "\t\tbefore = before->prev;\n",
            "\t\tbreak;\n",
            (UNIT,),
        ),
        Mutant(
            "hidden-bytes-forgotten",
            "bytes that a stream holds in user space wait for an event that never comes",
            PIPE,
            "\t\treturn sender->readable ? HAS_MORE : WAITS;\n",
            "\t\treturn WAITS;\n",
            (UNIT, CORPUS),
        ),
        Mutant(
            "turn-for-a-buffer-lost",
            "a connection that ends when it is its turn to get a buffer leaves those behind it waiting for ever",
            PIPE,
            "\tif (woken)\n",
            "\tif (0 && woken)\n",
            (UNIT,),
        ),
        Mutant(
            "endpoint-stays-counted",
            "an endpoint whose connection ended counts as busy for ever: least request avoids it",
            "agent/relay/upstream.c",
            "\tif (upstream->lent)\n",
            "\tif (upstream->lent && upstream->attempt[0])\n",
            (UNIT,),
        ),
    ),
)

GROUPS = (_BALANCE, _LAYERS)
