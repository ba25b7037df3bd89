"""The data plane's own promises: its order, what waits for what, what a change costs."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNIT = "tests/unit/dataplane"
CYCLE = "agent/tidegate/dataplane/cycle.py"
ENVOY_APPLIER = "agent/tidegate/dataplane/appliers/envoy.py"

_DATA_PLANE = Group(
    "cost follows the change, nothing blocks, and one item's trouble is its own",
    (
        Mutant(
            "pods-wait-for-all-listeners",
            "a pod's ADD waits until Envoy has opened the listeners of all pods",
            ENVOY_APPLIER,
            "        if name in self._waiting:\n",
            "        if self._waiting:\n",
            (f"{UNIT}/test_cycle.py::test_a_pod_waits_for_its_own_listener_only",),
        ),
        Mutant(
            "rows-before-envoys-answer",
            "the kernel leads connections to Envoy before Envoy knows the service",
            "agent/tidegate/dataplane/assembly.py",
            "or resources.seen >= generation",
            "or True",
            (f"{UNIT}/test_order.py::test_a_row_leads_to_envoy_only_when_envoy_has_answered",),
        ),
        Mutant(
            "services-go-at-once",
            "the relay forgets a service while connections to it are on their way",
            "agent/tidegate/dataplane/appliers/relay.py",
            "LINGER_SECONDS = 1.0 ",
            "LINGER_SECONDS = 0.0 ",
            (f"{UNIT}/test_order.py::test_the_relay_serves_what_leaves_until_nothing_leads_there_and_a_little_longer",),
        ),
        Mutant(
            "listeners-go-while-captured",
            "Envoy forgets the listener of a pod whose connections are still sent there",
            ENVOY_APPLIER,
            "        told = _with(self._told, wanted, needed) if needed else wanted\n",
            "        told = wanted\n",
            (f"{UNIT}/test_cycle.py::test_a_pod_that_leaves_the_mesh_is_released_and_then_closed",),
        ),
        Mutant(
            "old-listeners-stay",
            "Envoy keeps a listener that nothing leads to any more",
            ENVOY_APPLIER,
            "        if not self._narrow and",
            "        if False and",
            (f"{UNIT}/test_order.py::test_what_serves_a_pod_goes_in_reverse_order_once_it_is_released",),
        ),
        Mutant(
            "refused-pods-without-back-off",
            "a pod that the kernel refuses is tried again with every pass",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "        if self._retries.waits(cookie, now):\n",
            "        if False:\n",
            (f"{UNIT}/test_dirty.py::test_a_refused_pod_is_tried_again_alone",),
        ),
        Mutant(
            "passes-for-nothing",
            "what failed and is not wanted any more makes the agent pass again twenty times a second",
            CYCLE,
            "if time is not None and time > self._passed_at)",
            "if time is not None)",
            (f"{UNIT}/test_dirty.py::test_what_is_not_wanted_any_more_is_not_thought_of_again",),
        ),
        Mutant(
            "tables-read-each-pass",
            "every pass reads all of the kernel's tables",
            CYCLE,
            "        if self._shadow.doubtful or self._clock.monotonic() >= self._resync_at:\n",
            "        if True:\n",
            (f"{UNIT}/test_shadow.py::test_the_tables_are_read_once_however_much_changes",),
        ),
        Mutant(
            "drift-stays",
            "what somebody else wrote into the kernel's tables stays there",
            "agent/tidegate/dataplane/shadow.py",
            "        self._drift |= drift\n",
            "",
            (f"{UNIT}/test_shadow.py::test_what_somebody_else_wrote_is_put_right_by_the_timer",),
        ),
        Mutant(
            "kernel-calls-on-the-loop",
            "calls into the kernel hold up the event loop",
            "agent/tidegate/dataplane/shadow.py",
            "        await self._worker.do(self._enrol, cookie, row, netns_fd)\n",
            "        self._enrol(cookie, row, netns_fd)\n",
            (f"{UNIT}/test_waiting.py::test_a_table_that_hangs_does_not_hold_up_the_event_loop",),
            raises=("TimeoutError",),
        ),
        Mutant(
            "living-listeners-opened-again",
            "a new agent asks the relay that lives on for the listeners of each pod again, one after the other",
            "agent/tidegate/dataplane/sandboxes.py",
            "        if cookie not in self._listening:\n",
            "        if True:\n",
            (f"{UNIT}/test_restarts.py::test_a_killed_agents_state_is_adopted_and_nothing_is_written_anew",),
        ),
        Mutant(
            "a-new-relay-gets-no-pods",
            "the listeners of a relay that died are not opened in the next one",
            "agent/tidegate/dataplane/sandboxes.py",
            "            missing = cookie not in self.open or cookie in self._lost\n",
            "            missing = cookie not in self.open\n",
            (f"{UNIT}/test_restarts.py::test_a_new_relay_process_gets_pods_and_services_again",),
        ),
        Mutant(
            "a-user-makes-the-node-unready",
            "what is wrong with one object stops a roll-out of the agent",
            "agent/tidegate/app.py",
            "        missing=tokens.missing,\n",
            "        missing=lambda: views.unhealthy() and [*views.unhealthy()],\n",
            (
                "tests/stories/change/test_readiness.py::test_readiness_is_about_the_node",
                "tests/stories/hostile/test_bad_neighbours.py::test_a_rule_that_envoy_refuses_is_named_and_nobody_else_notices",
            ),
        ),
    ),
)

GROUPS = (_DATA_PLANE,)
