"""What a connection keeps of TCP when it is relayed."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

URGENT = "tests/relay/test_urgent.py"
BALANCING = "tests/relay/test_balancing.py"
PIPE = "agent/relay/pipe.c"
PLAIN = "agent/relay/stream_plain.c"

_URGENT = Group(
    "urgent data goes through",
    (
        Mutant(
            "urgent-byte-stops-the-stream",
            "after an urgent byte nothing arrives any more",
            PLAIN,
            "\tif (events & EPOLLPRI) {\n",
            "\tif (0) {\n",
            (f"{URGENT}::test_an_urgent_byte_between_others_arrives_in_its_place",),
            raises=("TimeoutError",),
        ),
        Mutant(
            "urgent-byte-among-the-others",
            "an application that waits for urgent data never gets any",
            PIPE,
            "return to->ops->send_urgent ? to->ops->send_urgent(to, byte)",
            "return 0 ? to->ops->send_urgent(to, byte)",
            (f"{URGENT}::test_a_reader_that_asks_for_urgent_data_gets_it_as_such",),
        ),
        Mutant(
            "kept-urgent-byte-not-urgent",
            "an urgent byte that had to wait for a slow reader is not urgent any more",
            PIPE,
            "\tway->urgent = urgent;\n",
            "\tway->urgent = false;\n",
            (f"{URGENT}::test_urgent_bytes_behind_a_reader_that_stopped",),
        ),
    ),
)

_RESET_AT_ONCE = Group(
    "an endpoint that answered has had the connection",
    (
        Mutant(
            "reset-at-once-is-a-failed-dial",
            "an endpoint that accepts and resets makes the relay open connections to others",
            PLAIN,
            "return error == ECONNRESET || error == EPIPE;",
            "return error == ECONNRESET && error == EPIPE;",
            (f"{BALANCING}::test_an_endpoint_that_answers_and_resets_has_had_the_connection",),
        ),
        Mutant(
            "last-words-lost-in-a-reset",
            "what an endpoint said before it reset is replaced by an orderly end",
            PLAIN,
            "\tif (n == 0 && plain->error)\n",
            "\tif (0)\n",
            (f"{BALANCING}::test_an_endpoint_that_answers_and_resets_has_had_the_connection",),
        ),
    ),
)

GROUPS = (_URGENT, _RESET_AT_ONCE)
