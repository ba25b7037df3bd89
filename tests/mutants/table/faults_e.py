"""The node: attachments, what CNI asks, pods that change after they were enrolled (docs/faults.md, E)."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

LEDGER = "agent/tidegate/enroll/ledger.py"
REGISTRY = "agent/tidegate/enroll/registry.py"
CALLS = "agent/tidegate/dataplane/cni_calls.py"
LEDGER_TESTS = "tests/unit/enroll/test_ledger.py"
REGISTRY_TESTS = "tests/unit/enroll/test_registry.py"
VERBS = "tests/stories/enrol/test_cni_verbs.py"
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
            (REGISTRY_TESTS, TWO_INTERFACES),
        ),
        Mutant(
            "del-of-an-earlier-namespace-counts",
            "a late DEL takes the container's next life out of the mesh",
            REGISTRY,
            "        if cookie not in (0, known.netns_cookie):\n",
            "        if False:\n",
            (f"{REGISTRY_TESTS}::test_a_late_del_of_the_same_containers_earlier_namespace_changes_nothing",),
        ),
        Mutant(
            "ports-remembered-late-forget-an-interface",
            "what the data plane tells later overwrites what a runtime told meanwhile",
            LEDGER,
            "        kept = replace(known, capture=sandbox.capture, v6_capture=sandbox.v6_capture)\n",
            "        kept = sandbox\n",
            (f"{REGISTRY_TESTS}::test_ports_that_are_remembered_late_do_not_forget_an_interface",),
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
            "        await self._release(await self._disk.do(self._registry.collect, request))\n",
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

GROUPS = (_ATTACHMENTS, _VERBS)
