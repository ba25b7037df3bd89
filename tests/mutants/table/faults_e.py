"""The node: attachments, what CNI asks, pods that change after they were enrolled (docs/faults.md, E)."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

LEDGER = "agent/tidegate/enroll/ledger.py"
REGISTRY = "agent/tidegate/enroll/sandbox_store.py"
CALLS = "agent/tidegate/dataplane/cni_calls.py"
CALLS_TESTS = "tests/unit/dataplane/test_cni_calls.py"
TURNS = "agent/tidegate/dataplane/turns.py"
TURNS_TESTS = "tests/unit/dataplane/test_turns.py"
LEDGER_TESTS = "tests/unit/enroll/test_ledger.py"
REGISTRY_TESTS = "tests/unit/enroll/test_sandbox_store.py"
INTERFACE_TESTS = "tests/unit/enroll/test_interfaces.py"
KEPT_TESTS = "tests/unit/enroll/test_kept_namespaces.py"
VERBS = "tests/stories/enrol/test_cni_verbs.py"
SANDBOXES = "agent/tidegate/dataplane/sandboxes.py"
WATCHING_TESTS = "tests/unit/dataplane/test_watching.py"
MANY_TESTS = "tests/unit/dataplane/test_many_pods.py"
WAITING_TESTS = "tests/unit/dataplane/test_waiting.py"
INSIDE = "tests/stories/capture/test_changed_inside.py"
TWO_INTERFACES = "tests/stories/enrol/test_attachments.py"

_ATTACHMENTS = Group(
    "an attachment is container and interface: what comes and goes beside eth0 changes nothing for eth0",
    (
        Mutant(
            "second-interface-gives-the-pod-its-address",
            "the pod is known by the interface that was attached last",
            LEDGER,
            "            kept = replace(kept, ips=_addresses(both) or sandbox.ips)\n",
            "",
            (LEDGER_TESTS, TWO_INTERFACES),
        ),
        Mutant(
            "del-of-an-interface-takes-the-pod",
            "DEL of net1 takes the running pod out of the mesh",
            REGISTRY,
            "            if cookie\n",
            "            if False\n",
            (INTERFACE_TESTS, TWO_INTERFACES),
        ),
        Mutant(
            "the-node-is-taken-for-a-pod",
            "a runtime that attaches the node's own namespace has all of the node's connections captured",
            REGISTRY,
            "            if cookie == self._names.own_cookie():\n",
            "            if False:\n",
            (f"{REGISTRY_TESTS}::test_the_nodes_own_namespace_is_no_pod",),
        ),
        Mutant(
            "a-name-that-is-being-removed-is-taken",
            "a sandbox that comes back at once has no name by which Envoy finds its namespace",
            REGISTRY,
            "            self._guard.wait_for(lambda: cookie not in self._leaving)\n",
            "",
            (f"{KEPT_TESTS}::test_a_namespace_that_comes_back_while_its_name_is_removed_gets_a_new_one",),
        ),
        Mutant(
            "all-wait-for-the-namespace-that-goes",
            "beside a pod in a crash loop others are enrolled late",
            CALLS,
            "            await self._names.do(self._store.let_go)\n",
            "            await self._disk.do(self._store.let_go)\n",
            ("tests/unit/dataplane/test_cni_calls.py::test_nobody_waits_for_the_namespace_of_a_pod_that_goes",),
        ),
        Mutant(
            "no-interface-is-an-interface",
            "a runtime that names an interface which cannot exist waits for its pod until it gives up",
            "cni/call.c",
            '\tif (strcmp(call->command, "DEL") != 0 && !is_interface(environment("CNI_IFNAME")))\n',
            '\tif (0 && !is_interface(environment("CNI_IFNAME")))\n',
            ("tests/stories/enrol/test_cni_plugin.py::test_a_name_that_no_interface_can_have_is_refused_at_once",),
        ),
        Mutant(
            "del-of-no-interface-is-refused",
            "a pod cannot go, because the runtime names an interface that never came",
            "cni/call.c",
            '\tif (strcmp(call->command, "DEL") != 0 && !is_interface(environment("CNI_IFNAME")))\n',
            '\tif (!is_interface(environment("CNI_IFNAME")))\n',
            ("tests/stories/enrol/test_cni_plugin.py::test_a_name_that_no_interface_can_have_is_refused_at_once",),
        ),
        Mutant(
            "del-of-an-earlier-namespace-counts",
            "a late DEL takes the container's next life out of the mesh",
            REGISTRY,
            "        if cookie not in (0, known.netns_cookie):\n",
            "        if False:\n",
            (f"{INTERFACE_TESTS}::test_a_late_del_of_the_same_containers_earlier_namespace_changes_nothing",),
        ),
        Mutant(
            "ports-remembered-late-forget-an-interface",
            "what the data plane tells later overwrites what a runtime told meanwhile",
            LEDGER,
            "        kept = replace(known, capture=sandbox.capture, v6_capture=sandbox.v6_capture)\n",
            "        kept = sandbox\n",
            (f"{INTERFACE_TESTS}::test_ports_that_are_remembered_late_do_not_forget_an_interface",),
        ),
    ),
)

_VERBS = Group(
    "GC releases what is not listed, STATUS fails while no pod can be enrolled",
    (
        Mutant(
            "gc-does-nothing",
            "GC succeeds and what the runtime has lost stays captured",
            CALLS,
            "        await self._release(await self._disk.do(self._store.collect, request))\n",
            "        return\n",
            (f"{VERBS}::test_gc_releases_what_it_does_not_list_and_leaves_the_rest",),
        ),
        Mutant(
            "gc-of-every-network",
            "the list of one network releases the pods of another",
            LEDGER,
            "            and attachment.network == network\n",
            "",
            (LEDGER_TESTS, VERBS),
        ),
        Mutant(
            "gc-without-a-list-is-an-empty-list",
            "a runtime that lists nothing at all empties the node",
            "agent/tidegate/enroll/wire.py",
            "    if not names:\n        return None\n",
            "    if not names:\n        return frozenset()\n",
            ("tests/unit/enroll/test_wire.py", VERBS),
        ),
        Mutant(
            "status-always-fine",
            "STATUS succeeds while no pod can be enrolled",
            CALLS,
            "        if missing:\n            raise NotServing(\n",
            "        if False:\n            raise NotServing(\n",
            (VERBS,),
        ),
    ),
)

_CHANGED = Group(
    "a pod that changes inside after it was enrolled is captured as it is now, or status says why not",
    (
        Mutant(
            "ipv6-later-is-not-captured",
            "IPv6 that is switched on after enrolment passes the mesh by",
            SANDBOXES,
            "        now = replace(opened, v6_capture=seen.v6_capture)\n",
            "        now = opened\n",
            (f"{WATCHING_TESTS}::test_ipv6_that_is_switched_on_after_enrolment_is_captured", INSIDE),
        ),
        Mutant(
            "listeners-of-ipv6-only-while-it-is-on",
            "what IPv6 needs is not open when it is switched on later",
            SANDBOXES,
            "            self._listening[cookie] = await self._relay.add_sandbox(cookie, fd, seen.has_ipv6, port)\n",
            "            self._listening[cookie] = await self._relay.add_sandbox(cookie, fd, seen.v6_capture, port)\n",
            (f"{WATCHING_TESTS}::test_ipv6_that_is_switched_on_after_enrolment_is_captured", INSIDE),
        ),
        Mutant(
            "each-change-inside-is-looked-at",
            "a pod that changes its addresses all the time keeps the agent busy",
            "agent/tidegate/dataplane/watching.py",
            "            await self._clock.sleep(backoff.next(calm))\n",
            "            await asyncio.sleep(0)\n",
            (f"{WATCHING_TESTS}::test_a_pod_that_never_comes_to_rest_is_looked_at_ever_more_rarely",),
        ),
    ),
)

_MANY = Group(
    "a pass costs what changed, not how many pods there are",
    (
        Mutant(
            "a-table-is-read-for-each-pod",
            "enrolment of one pod reads the rows of all",
            "agent/tidegate/dataplane/shadow.py",
            "            if cookie not in self.guards:\n",
            "            if cookie not in self._tables.lookups():\n",
            (f"{MANY_TESTS}::test_an_add_among_hundreds_of_pods_costs_that_pod",),
        ),
        Mutant(
            "each-pass-looks-at-each-pod",
            "each pass works out the row of every pod of the node",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "            if self._settled.get(cookie) == made_of:\n",
            "            if False:\n",
            (MANY_TESTS,),
        ),
    ),
)

_LOOPS = Group(
    "a pod in an endless crash loop is named, and the node stays ready",
    (
        Mutant(
            "crash-loop-is-not-named",
            "sandbox after sandbox comes and goes and status says nothing",
            CALLS,
            "        self._loops.came(sandbox.id, sandbox.netns_cookie)\n",
            "",
            ("tests/stories/hostile/test_bad_neighbours.py::test_a_pod_in_an_endless_crash_loop_disturbs_nobody",),
        ),
        Mutant(
            "repeated-add-is-a-crash",
            "a runtime that asks again because it got no answer looks like a crash loop",
            "agent/tidegate/enroll/crash_loops.py",
            "        if known.cookie != cookie:\n",
            "        if True:\n",
            ("tests/unit/enroll/test_crash_loops.py",),
        ),
        Mutant(
            "who-comes-again-comes-at-once",
            "each sandbox of a crash loop makes the enrolment of others twice as long",
            CALLS,
            "        if not (self._store.find(request) if known else self._loops.comes_again(request.pod)):\n",
            "        if True:\n",
            (f"{CALLS_TESTS}::test_the_second_sandbox_of_a_pod_comes_after_others_and_so_does_its_end",),
        ),
        Mutant(
            "who-comes-again-goes-at-once",
            "each end of a crash loop's sandbox makes the enrolment of others longer",
            CALLS,
            "        if not self._loops.came_again(request.pod):\n",
            "        if True:\n",
            (f"{CALLS_TESTS}::test_the_second_sandbox_of_a_pod_comes_after_others_and_so_does_its_end",),
        ),
        Mutant(
            "who-is-gone-is-enrolled",
            "a sandbox that went while it waited is recorded, opened and told to Envoy",
            CALLS,
            "            if not still_there or call not in self._waiting:\n",
            "            if call not in self._waiting:\n",
            (f"{CALLS_TESTS}::test_a_sandbox_that_goes_before_its_turn_costs_the_data_plane_nothing",),
        ),
        Mutant(
            "what-was-taken-back-is-enrolled",
            "a sandbox of which a runtime said DEL while its ADD waited stays captured until the node is swept",
            CALLS,
            "            if not still_there or call not in self._waiting:\n",
            "            if not still_there:\n",
            (f"{CALLS_TESTS}::test_an_add_that_its_runtime_took_back_before_its_turn_enrols_nobody",),
        ),
        Mutant(
            "who-comes-again-waits-for-ever",
            "on a node where pods come all the time a pod that was made anew does not start",
            TURNS,
            "        if now - come >= MOST_SECONDS:\n            return True\n",
            "",
            (f"{TURNS_TESTS}::test_nobody_waits_for_ever",),
        ),
        Mutant(
            "all-loops-at-once",
            "when nobody else comes all crash loops of the node are enrolled at once, and meet who comes then",
            TURNS,
            "        with self.first():\n            yield\n",
            "        yield\n",
            (f"{TURNS_TESTS}::test_of_those_that_come_again_one_is_under_way",),
        ),
        Mutant(
            "never-enrolled-is-forgotten",
            "a pod that cannot be captured is tried beside others each time that its runtime makes it anew",
            "agent/tidegate/enroll/crash_loops.py",
            "        return not known.served or known.times",
            "        return known.times",
            ("tests/unit/enroll/test_crash_loops.py::test_who_was_never_enrolled_comes_again_until_he_was",),
        ),
        Mutant(
            "everybody-waits-for-a-pod-that-is-closed",
            "a pod whose namespace is being taken down holds up the enrolment of the others",
            "agent/tidegate/dataplane/appliers/relay.py",
            "        outcomes = self._sandboxes.close_others(self._shadow.pods)\n",
            "        outcomes = self._sandboxes.close_others(self._shadow.pods)\n"
            "        for closing in tuple(self._sandboxes._closing.values()):\n"
            "            await closing\n",
            (f"{WAITING_TESTS}::test_a_pod_that_is_slow_to_close_keeps_nobody_waiting",),
        ),
        Mutant(
            "pod-is-opened-while-it-is-closed",
            "what is opened for a pod that came back at once is closed again",
            SANDBOXES,
            "            if cookie in self._opening or cookie in self._closing:\n",
            "            if cookie in self._opening:\n",
            (f"{WAITING_TESTS}::test_a_pod_that_comes_back_while_it_is_closed_is_opened_after_that",),
        ),
        Mutant(
            "what-cannot-be-closed-is-not-told",
            "listeners that stay in a pod are in no status",
            SANDBOXES,
            "            if failed or self.wanted(cookie):",
            "            if self.wanted(cookie):",
            (f"{WAITING_TESTS}::test_a_pod_that_cannot_be_closed_is_told_once",),
        ),
    ),
)

GROUPS = (_ATTACHMENTS, _VERBS, _CHANGED, _MANY, _LOOPS)
