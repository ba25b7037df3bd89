"""What a connection keeps of TCP when it is relayed."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

URGENT = "tests/relay/test_urgent.py"
BALANCING = "tests/relay/test_balancing.py"
GONE = "tests/relay/test_gone.py"
CONN = "agent/relay/conn.c"
PEER = "agent/relay/peer.c"
FAMILIES = "tests/relay/test_families.py"
UPSTREAM = "agent/relay/upstream.c"
WISHES = "tests/relay/test_wishes.py"
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
            ("tests/relay/test_unit.py::test_c[pipe_test-address,undefined]",),
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

_GONE = Group(
    "who is gone is noticed, whatever the other side does",
    (
        Mutant(
            "gone-clients-are-kept",
            "connections whose client has closed stay for ever if the server does not close",
            CONN,
            "\tif (from == FP_CLIENT)\n",
            "\tif (0)\n",
            (f"{GONE}::test_clients_that_closed_leave_nothing_though_the_server_never_closes",),
        ),
        Mutant(
            "half-closed-clients-are-cut",
            "a client that has finished sending is taken for one that is gone, and gets no answer",
            PEER,
            "return found->idiag_inode && found->idiag_state != FP_TCP_LISTEN ?",
            "return !found->idiag_inode && found->idiag_state != FP_TCP_LISTEN ?",
            (f"{GONE}::test_a_client_that_has_only_finished_sending_gets_its_answer_however_late",),
            raises=("OSError",),
        ),
        Mutant(
            "a-pod-that-went-is-asked",
            "half-closed clients of a pod are cut off, because the namespace of one that is gone does not know them",
            "agent/relay/worker.c",
            "\tfp_peers_leave(&w->peers);\n\tsem_post(presence->evicted);\n",
            "\tsem_post(presence->evicted);\n",
            (f"{GONE}::test_who_is_gone_is_asked_in_the_pod_that_came_after_another",),
        ),
        Mutant(
            "finished-servers-are-not-probed",
            "a server that finished sending and whose machine died holds the connection for two hours",
            CONN,
            "\tconn->halved[from] = true;\n",
            "\tconn->halved[from] = !from;\n",
            (f"{GONE}::test_a_server_that_has_finished_is_probed",),
        ),
        Mutant(
            "dead-clients-uploads-are-kept",
            "a client that died with bytes unsent holds its connection as long as the server does not read",
            CONN,
            "return conn->gone_ns && now_ns - conn->gone_ns >= FP_ORPHAN_NS;",
            "return conn->gone_ns && now_ns < conn->gone_ns;",
            ("tests/relay/test_unit.py::test_c[conn_test-address,undefined]",),
        ),
    ),
)

_FAMILIES = Group(
    "an endpoint is reached in whichever family it listens on",
    (
        Mutant(
            "other-family-not-tried",
            "a server that listens on IPv4 only resets who dials the service's IPv6 address",
            UPSTREAM,
            "\tif (upstream->attempt[!which] || !begin_other(upstream))\n",
            "\tif (upstream->attempt[!which])\n",
            (f"{FAMILIES}::test_a_server_of_one_family_answers_those_who_dial_the_other",),
        ),
        Mutant(
            "silent-family-waited-for",
            "a family that leads nowhere takes ten seconds",
            UPSTREAM,
            "\t(void)begin_other(fp_container(timer, struct fp_upstream, delay));",
            "\t(void)timer;",
            ("tests/relay/test_unit.py::test_c[conn_test-address,undefined]",),
        ),
        Mutant(
            "other-family-not-compiled",
            "the relay never learns that a pod has a second address",
            "agent/tidegate/compile/l4/services.py",
            "L4Endpoint(a, p, weight, other=others.get((a, p)))",
            "L4Endpoint(a, p, weight, other=None)",
            ("tests/unit/compile/outbound/test_destinations.py::test_endpoints_have_the_family_that_was_dialled",),
        ),
    ),
)

_WISHES = Group(
    "TCP options of the client hold on the way to the server",
    (
        Mutant(
            "options-not-carried",
            "an application that asked for a dead server to be noticed in three seconds waits for hours",
            "agent/relay/dial.c",
            "\tif (from->wishes.set)\n",
            "\tif (0)\n",
            (f"{WISHES}::test_packets_are_marked_as_the_application_marked_them",),
        ),
        Mutant(
            "late-options-not-carried",
            "options that are set after connect() have no effect",
            CONN,
            "\tcarry_wishes(conn);\n\tfor (int side",
            "\tfor (int side",
            (f"{WISHES}::test_what_is_set_after_connect_holds_as_well",),
        ),
        Mutant(
            "options-before-connect-not-written-down",
            "options that are set before connect() have no effect",
            "bpf/sockops.bpf.c",
            "\tif (wanted && !bpf_map_update_elem(&tg_wishes, key, wanted, BPF_ANY))\n",
            "\tif (wanted && !wanted->set)\n",
            ("tests/bpf/test_wishes.py::test_options_are_written_down",),
        ),
        Mutant(
            "options-of-one-byte-not-written-down",
            "an application that gives IP_TOS as one byte, as ip(7) allows, has its packets unmarked",
            "bpf/wishes.bpf.c",
            "\tif (ctx->optlen < 1 || ",
            "\tif (ctx->optlen < 4 || ",
            ("tests/bpf/test_wishes.py::test_options_in_every_form_that_the_kernel_takes",),
        ),
        Mutant(
            "segment-size-not-carried",
            "an application that asks for small segments because of a narrow way gets large ones, which are lost",
            "agent/relay/wishes.c",
            "\tif (wishes->set & TG_WISH_SEGMENT)\n",
            "\tif (0)\n",
            (f"{WISHES}::test_segments_are_no_larger_than_the_application_said",),
        ),
        Mutant(
            "tries-not-carried",
            "an application that wants a silent server given up soon waits for the relay's own time",
            "agent/relay/wishes.c",
            "\tif (wishes->set & TG_WISH_SYN_RETRIES)\n",
            "\tif (0)\n",
            (f"{WISHES}::test_a_silent_server_is_given_up_after_as_many_tries_as_the_application_said",),
        ),
        Mutant(
            "hops-not-carried",
            "packets of an application that limits how far they go, go everywhere",
            "agent/relay/wishes.c",
            "\tif (wishes->set & TG_WISH_HOPS)\n",
            "\tif (0)\n",
            (f"{WISHES}::test_packets_go_as_far_as_the_application_said",),
        ),
    ),
)

GROUPS = (_URGENT, _RESET_AT_ONCE, _GONE, _FAMILIES, _WISHES)
