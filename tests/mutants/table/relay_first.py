"""The relay: what a short connection is spared, and what comes later instead."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

PLAIN = "agent/relay/stream_plain.c"
CONN = "agent/relay/conn.c"
UNIT = "tests/relay/test_unit.py::test_c"

_FIRST = Group(
    "first bytes come with the connection, and what follows is as prompt as ever",
    (
        Mutant(
            "first-bytes-behind-the-handshake",
            "a server wakes for a connection, and then again for bytes that were there all the time",
            "agent/relay/dial.c",
            "\tif (from->bytes_wait)\n\t\tfp_tcp_hold_ack(fd);\n",
            "",
            (
                f"{UNIT}[dial_test-address,undefined]",
                "tests/relay/test_early_bytes.py::test_first_bytes_come_with_the_end_of_the_handshake",
            ),
        ),
        Mutant(
            "late-acknowledgements-for-good",
            "a server that answers in two sends waits 40 ms for the acknowledgement of the first",
            PLAIN,
            "\t\tfp_tcp_ack_at_once(plain->source.fd);\n",
            "",
            (f"{UNIT}[dial_test-address,undefined]",),
        ),
        Mutant(
            "first-bytes-not-looked-for",
            "bytes that came with the connection wait for an event where no name is asked for",
            CONN,
            "client->ops->arrived && client->ops->arrived(client)",
            "client->ops->arrived && 0",
            (f"{UNIT}[conn_test-address,undefined]",),
        ),
        Mutant(
            "urgent-byte-taken-for-another",
            "an urgent byte that came with the connection arrives as any other",
            "agent/relay/tcp.c",
            "POLLIN | POLLPRI | POLLRDHUP",
            "POLLIN",
            (f"{UNIT}[dial_test-address,undefined]",),
        ),
        Mutant(
            "second-message-waits",
            "a connection's second message waits for the acknowledgement of the first",
            PLAIN,
            "if (!plain->sends || --plain->sends)",
            "if (!plain->sends || plain->sends--)",
            (f"{UNIT}[dial_test-address,undefined]",),
        ),
        Mutant(
            "system-keep-alive-never",
            "a server that is gone is never noticed by who only waits",
            CONN,
            "\t\tfp_tcp_keep_alive(server->ops->socket(server));\n",
            "\t\t(void)server;\n",
            ("tests/relay/test_wishes.py::test_times_without_keepalive_switch_nothing_on",),
        ),
    ),
)

GROUPS = (_FIRST,)
