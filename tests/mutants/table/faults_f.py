"""What one pod can take of what all share: turns, buffers, kernel memory, descriptors."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNIT = "tests/relay/test_unit.py::test_c"
MOVING, ENGINE = f"{UNIT}[moving_test-address,undefined]", f"{UNIT}[engine_test-address,undefined]"
SHARES = "tests/relay/test_shares.py"
STUCK = f"{SHARES}::test_connections_that_nobody_reads_cost_about_what_they_cost_without_a_relay"
NEXT_POD = f"{SHARES}::test_a_pod_that_opens_without_end_leaves_descriptors_for_the_next_pod"
KMEM = f"{UNIT}[kmem_test-address,undefined]"
NO_MORE = f"{SHARES}::test_a_pod_whose_connections_are_stuck_gets_no_more_of_them"
RESET = f"{SHARES}::test_of_a_pod_beyond_its_share_what_is_stuck_is_reset_and_what_moves_is_not"
SUPERVISOR = "tests/unit/envoy/test_supervisor.py"
PIPE = "agent/relay/pipe.c"
PLAIN = "agent/relay/stream_plain.c"

_TURNS = Group(
    "a message waits for no more than one turn of whoever pours, and pods take turns",
    (
        Mutant(
            "who-pours-goes-first",
            "bulk streams of one pod hold up the messages of another",
            PIPE,
            "(small ? is_crowded(pipe) : full || !fp_list_empty(&pipe->again.node));",
            "small && is_crowded(pipe);",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "all-deaths-at-once",
            "a pod whose process with thousands of connections is killed holds up everybody",
            PIPE,
            "if (stream->failed && is_crowded(pipe)) {",
            "if (0) {",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "last-words-lost-in-a-crowd",
            "of thousands of connections that die at once most lose what was said last",
            PIPE,
            "return pipe->end[from]->failed ? UINT32_MAX : pipe->pipes->pool.size;",
            "return pipe->end[from]->failed ? 0 : pipe->pipes->pool.size;",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "a-crowd-goes-first",
            "a pod that asks on a thousand connections at once holds up the messages of another",
            PIPE,
            "return party->asked++ >= FP_CROWD;",
            "return party->asked++ > UINT32_MAX - 1;",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "the-same-lane-again",
            "a pod with much to do has all the turns",
            "agent/relay/loop.c",
            "\t\t\tfp_list_append(&loop->lanes, &lane->node);\n\t\ttask->run(task);\n",
            "\t\t\tfp_list_insert(&loop->lanes, &lane->node);\n\t\ttask->run(task);\n",
            (f"{UNIT}[loop_test-address,undefined]",),
        ),
    ),
)

_CARRIED = Group(
    "who pours is carried by another thread, loses nothing on the way, and comes back",
    (
        Mutant(
            "nobody-is-busy",
            "a pod that pours stays on the thread that passes on its neighbours' messages",
            PIPE,
            "if (++party->bulk <= pipes->bulk_most)",
            "if (party->bulk <= pipes->bulk_most)",
            (MOVING, ENGINE),
        ),
        Mutant(
            "all-that-a-busy-pod-says-is-bulk",
            "the messages of a pod that pours are carried with what it pours",
            PIPE,
            "!pipes->busy || moved <= FP_SMALL",
            "!pipes->busy || !moved",
            (MOVING,),
        ),
        Mutant(
            "busy-for-ever",
            "a pod that poured a little every day is taken for one that pours",
            PIPE,
            "now_ns - party->since_ns > FP_BULK_NS",
            "!party->since_ns",
            (MOVING,),
        ),
        Mutant(
            "limits-stay-behind",
            "a connection that was carried lives on after its idleTimeout or maxConnectionDuration",
            "agent/relay/moving.c",
            "\tfp_life_join(&conn->life, &conns->lives);\n",
            "",
            (MOVING,),
        ),
        Mutant(
            "carried-for-ever",
            "a connection that poured once is among those that pour as long as it lives",
            "agent/relay/conn.c",
            "bytes - told < FP_CALM_BYTES",
            "bytes < told",
            (MOVING, ENGINE),
        ),
        Mutant(
            "bytes-left-behind",
            "bytes in a buffer of the worker that a connection leaves reach its reader out of order, or never",
            PIPE,
            "return !pipe->way[FP_CLIENT].buf && !pipe->way[FP_SERVER].buf && ",
            "return ",
            (MOVING, ENGINE),
        ),
        Mutant(
            "timers-left-behind",
            "a connection that was moved is reported no more, and nobody looks whether its client lives",
            "agent/relay/moving.c",
            "\tif (timer->due_ns)\n\t\tfp_timer_start(timers, timer, timer->due_ns);\n",
            "\t(void)timers;\n\ttimer->due_ns = 0;\n",
            (MOVING,),
        ),
        Mutant(
            "still-watched",
            "two threads read one connection",
            PLAIN,
            "\tfp_loop_unwatch(plain->loop, &plain->source);\n",
            "\tfp_loop_forget(plain->loop, &plain->source);\n",
            (MOVING,),
        ),
        Mutant(
            "memory-to-whom-it-does-not-belong",
            "two threads use one list of free memory",
            "agent/relay/conn.c",
            "if (conn->home == &conns->slab)",
            "if (conn->home)",
            (f"{UNIT}[engine_test-thread]",),
        ),
        Mutant(
            "memory-that-others-gave-back-is-lost",
            "the relay grows with each connection that was carried",
            "agent/relay/slab.c",
            "slab->free = atomic_exchange_explicit(&slab->returned, NULL, memory_order_acquire);",
            "slab->free = NULL;",
            (MOVING, f"{UNIT}[queues_test-address,undefined]"),
        ),
        Mutant(
            "moved-out-of-a-pod-that-goes",
            "a connection outlives its pod's removal, and uses its memory",
            "agent/relay/worker.c",
            "\t\tmessage->sandbox->presence[w->index].open = false;\n",
            "",
            (ENGINE,),
        ),
    ),
)

_ALL_AT_ONCE = Group(
    "what a pod has many of is not dealt with in one turn",
    (
        Mutant(
            "all-timers-at-once",
            "a pod's many connections that report at the same second hold up everybody",
            "agent/relay/loop.c",
            "enum { FP_DUE = 128 };",
            "enum { FP_DUE = 1 << 30 };",
            (f"{UNIT}[loop_test-address,undefined]",),
        ),
        Mutant(
            "all-evicted-at-once",
            "the end of a pod with many connections holds up everybody",
            "agent/relay/conn.c",
            "\twhile (most-- && !fp_list_empty(&presence->conns))",
            "\tmost = 1;\n\twhile (most && !fp_list_empty(&presence->conns))",
            (f"{UNIT}[conn_test-address,undefined]",),
        ),
    ),
)

_MEMORY = Group(
    "connections that nobody reads leave memory to others",
    (
        Mutant(
            "all-buffers-to-one-pod",
            "a pod whose readers do not read takes every buffer of the relay",
            "agent/relay/buf.c",
            "!beyond && party->buffers",
            "!beyond && !pool->size && party->buffers",
            (f"{UNIT}[buf_test-address,undefined]", f"{UNIT}[fair_test-address,undefined]"),
        ),
        Mutant(
            "much-waits-to-be-sent",
            "the kernel keeps megabytes for a client that does not read",
            PLAIN,
            "FP_NOT_SENT_YET = 16 * 1024",
            "FP_NOT_SENT_YET = 4096 * 1024",
            (STUCK, f"{UNIT}[fair_test-address,undefined]"),
        ),
        Mutant(
            "much-waits-for-whom-nobody-knows",
            "a server's send buffer grows with what a client is sent who does not read",
            PLAIN,
            "return fp_tcp_bound_unsent(fd, FP_NOT_SENT_YET);",
            "return fp_tcp_bound_unsent(fd, FP_NOT_SENT);",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "little-waits-for-ever",
            "a connection that is read stays as narrow as one that is not",
            PIPE,
            "\tif (receiver->ops->deepen)\n",
            "\tif (receiver->ops->deepen && !receiver->ops->socket)\n",
            (f"{UNIT}[fair_test-address,undefined]",),
        ),
        Mutant(
            "much-waits-to-be-read",
            "the kernel takes in megabytes for a reader that does not read",
            PLAIN,
            "FP_NARROW = 64 * 1024",
            "FP_NARROW = 4096 * 1024",
            (STUCK,),
        ),
        Mutant(
            "send-buffers-as-lo-makes-them",
            "a client that sends to a server that does not read keeps megabytes in the kernel",
            "bpf/sockops.bpf.c",
            "bytes != TG_SNDBUF_UNCHOSEN",
            "bytes == TG_SNDBUF_UNCHOSEN",
            ("tests/bpf/test_send_buffer.py::test_a_captured_client_keeps_a_mebibyte_for_a_server_that_does_not_read",),
        ),
        Mutant(
            "send-buffer-of-the-application-overwritten",
            "an application's own SO_SNDBUF does not stay",
            "bpf/sockops.bpf.c",
            " || bytes != TG_SNDBUF_UNCHOSEN",
            "",
            ("tests/bpf/test_send_buffer.py::test_a_size_that_the_application_chose_stays",),
        ),
    ),
)

_DESCRIPTORS = Group(
    "connections leave descriptors to pods that come",
    (
        Mutant(
            "no-reserve-of-descriptors",
            "a pod that opens connections without end keeps new pods from being served",
            "agent/relay/defaults.c",
            "\tif (config->max_connections > most)\n",
            "\tif (0 && config->max_connections > most)\n",
            (NEXT_POD,),
        ),
        Mutant(
            "hardly-a-reserve",
            "on a node with few descriptors hardly any stay for pods that come",
            "agent/relay/defaults.c",
            "FP_RESERVE_LEAST = 128",
            "FP_RESERVE_LEAST = 1",
            (NEXT_POD,),
        ),
    ),
)

_EVENTS = Group(
    "what one pod's connections come to leaves room for what others' do",
    (
        Mutant(
            "all-events-of-one-pod",
            "beside a storm of connections of one pod no other's are told",
            "agent/relay/events.c",
            "*held >= FP_SHARE * (FP_RING_EVENTS - (head - r->seen_tail))",
            "head - r->seen_tail == FP_RING_EVENTS",
            (f"{UNIT}[queues_test-address,undefined]",),
        ),
        Mutant(
            "events-held-for-ever",
            "a pod that had many events has none told any more",
            "agent/relay/events.c",
            "\t\t--*share_of(r, &r->events[r->seen_tail % FP_RING_EVENTS]);\n",
            "\t\t;\n",
            (f"{UNIT}[queues_test-address,undefined]",),
        ),
    ),
)

_NODE = Group(
    "Envoy's group of processes has a bound of memory",
    (
        Mutant(
            "bound-follows-the-bound",
            "each start of the agent gives Envoy less memory than the one before",
            "agent/tidegate/envoy/supervisor.py",
            "memory_for(self._cgroup.path.parent)",
            "memory_for(self._cgroup.path)",
            (f"{SUPERVISOR}::test_envoys_group_is_bounded_and_its_heap_does_not_shrink_with_that_bound",),
        ),
        Mutant(
            "bound-that-is-none",
            "`tidegate status` tells a bound of memory that nothing keeps",
            "agent/tidegate/supervise/supervisor.py",
            "self._memory_max = 0 if why_not else limit",
            "self._memory_max = limit",
            (f"{SUPERVISOR}::test_a_hierarchy_without_the_controller_is_told_once",),
        ),
        Mutant(
            "controller-never-asked-for",
            "Envoy has no bound of memory where its parent would give it the controller",
            "agent/tidegate/linux/cgroup_dir.py",
            '(parent / "cgroup.subtree_control").write_text("+memory")',
            "pass",
            ("tests/unit/linux/test_cgroup.py::test_a_group_that_cannot_be_bounded_says_why",),
        ),
    ),
)

_SUM = Group(
    "what a pod's sockets hold in the kernel is bounded as a sum, at the cost of what is stuck",
    (
        Mutant(
            "stuck-without-end",
            "a pod with connections that nobody reads gets as many more as it likes",
            "agent/relay/placing.c",
            " &&\n\t       fp_kmem_has_room(&w->shared->kmem, &sandbox->kmem);",
            ";",
            (NO_MORE,),
            raises=("TimeoutError", "AssertionError"),
        ),
        Mutant(
            "stuck-for-ever",
            "what is stuck keeps the kernel's memory, however much the pod has",
            "agent/relay/conn.c",
            "if (!moved && is_heavy(conn))",
            "if (!moved && is_heavy(conn) && 0)",
            (KMEM, RESET),
        ),
        Mutant(
            "what-moves-is-reset",
            "of a pod with much that is stuck the connections that serve are reset",
            "agent/relay/conn.c",
            "if (!moved && is_heavy(conn))",
            "if (is_heavy(conn))",
            (KMEM,),
        ),
        Mutant(
            "the-lightest-goes-first",
            "a connection that holds next to nothing is reset for what others of its pod hold",
            "agent/relay/conn.c",
            "(uint64_t)conn->held * active >= all_its",
            "(uint64_t)conn->held * active > all_its * 0",
            (KMEM,),
        ),
        Mutant(
            "held-after-the-end",
            "a pod is refused for connections that have ended",
            "agent/relay/conn.c",
            "\tfp_kmem_set(conns->kmem, &conn->sandbox->kmem, &conn->held, 0);\n",
            "",
            (KMEM, NO_MORE),
            raises=("TimeoutError", "AssertionError"),
        ),
        Mutant(
            "unanswered-not-counted",
            "connections to an endpoint that is silent hold what they like",
            "agent/relay/conn.c",
            "\twishes_later(conn, conn->started_ns);\n",
            "",
            (KMEM,),
        ),
    ),
)

GROUPS = (_SUM, _TURNS, _CARRIED, _ALL_AT_ONCE, _MEMORY, _DESCRIPTORS, _EVENTS, _NODE)
