"""The fast path: bytes, ends of connections, memory, choice of endpoints."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

TRANSFERS = "tests/stories/capture/test_transfers.py"
RELAY_TEST = "tests/relay/test_relay.py"
LIFETIME = "tests/relay/test_lifetime.py"
SHARES = f"{LIFETIME}::test_a_pod_gets_two_thirds_of_the_connections_and_a_neighbour_finds_room"
BALANCING = "tests/relay/test_balancing.py"
CORPUS = "tests/relay/test_fuzz_corpus.py::test_corpus[relay]"
PIPE = "agent/relay/pipe.c"
PLAIN = "agent/relay/stream_plain.c"
CONN = "agent/relay/conn.c"
PLACING = "agent/relay/placing.c"
STREAMS = f"{RELAY_TEST}::test_streams_are_byte_exact_both_ways_at_once"
UPLOAD = f"{TRANSFERS}::test_transfers_are_byte_exact_and_half_close_works[upload-8MiB]"

_BYTES = Group(
    "64 KiB to 1 GiB transfers are byte-exact both ways, with slow readers and half-close",
    (
        Mutant(
            "byte-lost-when-the-receiver-is-full",
            "a byte is lost whenever the receiver takes less than was offered",
            PIPE,
            "\tway->offset = taken < 0 ? 0 : (uint32_t)taken;\n",
            "\tway->offset = taken < 0 ? 0 : (uint32_t)taken + 1;\n",
            (f"{TRANSFERS}::test_a_slow_reader_holds_the_sender_not_our_memory", STREAMS),
        ),
        Mutant(
            "byte-lost-at-64-KiB",
            "a byte is lost when more than 64 KiB arrive at once",
            PIPE,
            "\tif (n <= 0) {\n\t\tgive(pipe, buf);\n",
            "\tif (n > 65536)\n\t\tn--;\n\tif (n <= 0) {\n\t\tgive(pipe, buf);\n",
            (UPLOAD, STREAMS),
        ),
        Mutant(
            "bytes-twice-after-a-short-write",
            "kept bytes are sent again from their beginning",
            PIPE,
            "\tway->offset += (uint32_t)taken;\n",
            "\tway->offset += taken ? 1 : 0;\n",
            (f"{RELAY_TEST}::test_kept_bytes_that_go_out_in_pieces",),
        ),
        Mutant(
            "unbuffered-bytes-twice",
            "with all buffers in use bytes are sent twice",
            PIPE,
            "taken > 0 && sender->ops->discard(sender, (size_t)taken)",
            "taken > 0 && sender->ops->discard(sender, (size_t)(taken > 1 ? taken - 1 : 1))",
            (f"{RELAY_TEST}::test_slow_readers_lose_nothing", CORPUS),
        ),
        Mutant(
            "half-close-swallowed",
            "a client that has finished sending never gets its answer: the server waits for more",
            PIPE,
            "\tif (receiver->ops->finish(receiver))\n",
            "\tif (!receiver)\n",
            (f"{RELAY_TEST}::test_half_close_in_either_order",),
        ),
        Mutant(
            "half-close-closes-both",
            "the first side that finishes ends the connection for both",
            PIPE,
            "\tif (pipe->way[!from].done)\n",
            "\tif (1)\n",
            (UPLOAD,),
            raises=("JSONDecodeError",),
        ),
        Mutant(
            "rest-lost-at-the-end",
            "bytes that wait for a slow reader are dropped when the sender finishes",
            PIPE,
            "\tway->length = (uint32_t)n - way->offset;\n",
            "\tway->length = sender->ending ? 0 : (uint32_t)n - way->offset;\n",
            (
                f"{RELAY_TEST}::test_slow_readers_lose_nothing",
                CORPUS,
                f"{TRANSFERS}::test_a_slow_reader_holds_the_sender_not_our_memory",
            ),
        ),
        Mutant(
            "last-bytes-without-fin",
            "the last bytes of a sender and its FIN leave in two segments and wake the receiver twice",
            PLAIN,
            "more ? MSG_MORE : 0",
            "more ? 0 : 0",
            ("tests/relay/test_early_bytes.py::test_last_bytes_and_fin_come_in_one_segment",),
        ),
        Mutant(
            "budget-forgets-the-rest",
            "a connection that used up its turn is not continued",
            PIPE,
            "\tif (rc == HAS_MORE)\n\t\tfp_loop_queue",
            "\tif (0)\n\t\tfp_loop_queue",
            ("tests/relay/test_early_bytes.py::test_a_connection_that_used_up_its_turn_goes_on",),
        ),
    ),
)

_RESET = Group(
    "reset goes through",
    (
        Mutant(
            "reset-swallowed",
            "a server's reset looks like an orderly end to the client",
            CONN,
            "is_orderly(conn, reason) ? FP_STREAM_ORDERLY : FP_STREAM_RESET",
            "is_orderly(conn, 0) ? FP_STREAM_ORDERLY : FP_STREAM_RESET",
            (f"{TRANSFERS}::test_reset_of_the_server_reaches_the_client",),
        ),
        Mutant(
            "resets-of-client-and-server-confused",
            "the metric blames the client for the server's reset",
            PIPE,
            "return side == FP_CLIENT ? FP_PIPE_CLIENT_DIED : FP_PIPE_SERVER_DIED;",
            "return side == FP_CLIENT ? FP_PIPE_SERVER_DIED : FP_PIPE_CLIENT_DIED;",
            (f"{TRANSFERS}::test_reset_of_the_server_reaches_the_client",),
        ),
        Mutant(
            "reset-after-the-end-unseen",
            "a peer that dies while its bytes wait leaves the other side waiting for ever",
            PIPE,
            "\tif (!pipe->end[side]->failed)\n",
            "\tif (side >= 0)\n",
            (f"{RELAY_TEST}::test_reset_goes_through", CORPUS),
        ),
    ),
)

_MEMORY = Group(
    "2 000 concurrent connections; memory bounded",
    (
        Mutant(
            "back-pressure-off",
            "a sender is never held back: what a slow reader does not take is thrown away",
            PIPE,
            "offer(receiver, buf->data, (size_t)n, sender->ending);\n",
            "offer(receiver, buf->data, (size_t)n, sender->ending);\n"
            "\treceiver->writable = true;\n\tif (taken >= 0)\n\t\ttaken = n;\n",
            (f"{RELAY_TEST}::test_a_reader_that_stops_holds_the_sender_back",),
        ),
        Mutant(
            "one-pod-takes-all-connections",
            "a pod may use up the connections of the whole node",
            PLACING,
            "memory_order_relaxed) < FP_SHARE * (most - total) &&\n",
            "memory_order_relaxed) < most &&\n",
            (SHARES,),
        ),
        Mutant(
            "buffers-not-given-back",
            "every short write costs a buffer for ever",
            PIPE,
            "\tif (way->buf)\n\t\tgive(pipe, way->buf);\n",
            "\t(void)pipe;\n",
            (f"{RELAY_TEST}::test_kept_bytes_that_go_out_in_pieces",),
        ),
        Mutant(
            "pool-without-a-bound",
            "the limit of memory for slow readers has no effect",
            "agent/relay/buf.c",
            "\tif (pool->made >= pool->most)\n",
            "\tif (pool->made >= UINT32_MAX)\n",
            ("tests/relay/test_unit.py", f"{LIFETIME}::test_many_connections_at_once_in_bounded_memory"),
        ),
        Mutant(
            "idle-memory-kept",
            "memory of a burst is never given back",
            "agent/relay/buf.c",
            "\t\tfree_some(pool, pool->spare / 2);\n",
            "",
            ("tests/relay/test_unit.py",),
        ),
        Mutant(
            "connection-limit-ignored",
            "more connections than allowed are taken",
            PLACING,
            "\tif (!has_room(w, watch->sandbox)) {\n",
            "\tif (0 && !has_room(w, watch->sandbox)) {\n",
            (SHARES,),
        ),
        Mutant(
            "connection-record-leaked",
            "each connection costs a few hundred bytes for ever",
            CONN,
            "\t\t\tfp_slab_give(conn->home, conn);\n",
            "\t\t\t;\n",
            (f"{LIFETIME}::test_a_connection_that_ended_costs_nothing", f"{LIFETIME}"),
        ),
        Mutant(
            "descriptor-leaked",
            "each connection costs a descriptor for ever",
            "agent/relay/dial.c",
            "\tint fd = socket(name.sa.sa_family,",
            "\tint lost = socket(name.sa.sa_family, SOCK_STREAM, 0);\n\t(void)lost;\n"
            "\tint fd = socket(name.sa.sa_family,",
            (f"{LIFETIME}::test_a_connection_that_ended_costs_nothing", LIFETIME),
        ),
        Mutant(
            "flow-records-stay",
            "the kernel's record of a connection stays when the connection is gone",
            "bpf/sockops.bpf.c",
            "\tbpf_map_delete_elem(&tg_flows, key);\n",
            "",
            (f"{TRANSFERS}::test_two_thousand_connections_at_once_in_bounded_memory", "tests/bpf/test_records.py"),
        ),
        Mutant(
            "events-lost-without-a-count",
            "connections that nobody is told about are not counted as lost",
            "agent/relay/events.c",
            "\t\tfp_count(&r->lost, event->connections);\n",
            "",
            ("tests/relay/test_unit.py",),
        ),
        Mutant(
            "one-connection-of-many-is-accepted",
            "of connections that come at once only the first is accepted, until another one comes",
            "agent/relay/accept.c",
            "return poll(&queue, 1, 0) != 0;",
            "return poll(&queue, 1, 0) < 0;",
            ("tests/relay/test_unit.py",),
        ),
        Mutant(
            "out-of-descriptors-clients-wait",
            "when descriptors run out clients wait for nothing instead of being told",
            "agent/relay/accept.c",
            "if ((error == EMFILE || error == ENFILE) && shed_one(acceptor, watch))",
            "if (0 && shed_one(acceptor, watch))",
            (f"{LIFETIME}::test_without_free_descriptors_clients_are_told_at_once",),
        ),
        Mutant(
            "image-freed-under-a-worker",
            "a new configuration frees what a worker still reads",
            "agent/relay/engine.c",
            "\t\t\theld |= atomic_load(&engine->shared.workers[i]->hold.image) == image;\n",
            "\t\t\theld |= engine->shared.workers[i] == NULL;\n",
            ("tests/relay/test_unit.py",),
        ),
        Mutant(
            "target-freed-under-a-connection",
            "an endpoint that is gone is freed while a connection to it lives",
            "agent/relay/target.c",
            "if (target->images || atomic_load_explicit(&target->live, memory_order_acquire)) {",
            "if (target->images) {",
            ("tests/relay/test_unit.py", BALANCING),
        ),
    ),
)

GROUPS = (_BYTES, _RESET, _MEMORY)
