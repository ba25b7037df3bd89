"""Pods that ran before anybody told of them."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

RUNNING = "agent/tidegate/dataplane/running.py"
FOUND = "agent/tidegate/enroll/running.py"
STORE = "agent/tidegate/enroll/sandbox_store.py"
LOOKING_TESTS = "tests/unit/dataplane/test_running.py"
FOUND_TESTS = "tests/unit/enroll/test_running.py"

GROUPS = (
    Group(
        "a pod that was attached while our plugin was not in the chain is captured while it runs, or named",
        (
            Mutant(
                "running-pods-are-looked-for-once",
                "a pod whose namespace gets its name later runs uncaptured for good",
                RUNNING,
                "        if due is not None:\n",
                "        if False:\n",
                (LOOKING_TESTS,),
            ),
            Mutant(
                "who-cannot-be-found-is-not-named",
                "the node says healthy while a pod runs uncaptured",
                RUNNING,
                "            self._reasons[pod.id] = reason\n",
                "            pass\n",
                (LOOKING_TESTS,),
            ),
            Mutant(
                "ending-pods-are-missed",
                "each pod that ends makes the node unhealthy between its DEL and its end in the cluster",
                RUNNING,
                " or pod.ending or",
                " or",
                (LOOKING_TESTS,),
            ),
            Mutant(
                "one-of-two-namespaces-is-guessed",
                "of two namespaces with the pod's address the first is captured",
                RUNNING,
                "        if len(fitting) > 1:\n",
                "        if False:\n",
                (LOOKING_TESTS,),
            ),
            Mutant(
                "del-knows-container-ids-only",
                "a pod that was found is never taken back, because nobody knew its container id",
                STORE,
                "self._ledger.find(request.container_id) or self._found_running(cookie)",
                "self._ledger.find(request.container_id)",
                (FOUND_TESTS,),
            ),
            Mutant(
                "found-beside-the-add",
                "what was found takes the place of what an ADD has told of meanwhile",
                STORE,
                "        if self.has_told(cookie) or any(",
                "        if False and any(",
                (FOUND_TESTS,),
            ),
            Mutant(
                "what-a-del-took-back-is-found-again",
                "a pod that is being taken down is captured once more",
                STORE,
                "        self._take_back(known.netns_cookie)\n",
                "",
                (FOUND_TESTS,),
            ),
            Mutant(
                "every-namespace-fits",
                "whichever namespace comes first is taken for the pod's",
                FOUND,
                "any(address in wanted for address in addresses)",
                "True",
                (FOUND_TESTS,),
            ),
        ),
    ),
)
