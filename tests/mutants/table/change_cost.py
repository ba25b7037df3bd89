"""What Envoy refuses, and what a change costs."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

CYCLE = "agent/tidegate/dataplane/cycle.py"
ENVOY_APPLIER = "agent/tidegate/dataplane/appliers/envoy.py"
_DERIVE = "agent/tidegate/compile/derive.py"
_DERIVED = "tests/unit/compile/test_derive.py"

_NACK = Group(
    "what Envoy refuses shows in status with its source object",
    (
        Mutant(
            "nack-not-in-status",
            "status is healthy although Envoy refused a resource",
            "agent/tidegate/xds/server.py",
            "        return broken + tuple(newest.session.withheld() if newest else ())\n",
            "        return broken\n",
            ("tests/envoy/test_envoy_refusals.py::test_the_guilty_one_is_named_and_its_last_good_content_serves",),
        ),
        Mutant(
            "nack-without-its-source",
            "status does not say which document a refused resource comes from",
            "agent/tidegate/xds/server.py",
            'f"{n.by}: {n.detail}", tuple(str(o) for o in n.origins))',
            'f"{n.by}: {n.detail}", ())',
            (
                "tests/envoy/test_envoy_refusals.py::test_the_guilty_one_is_named_and_its_last_good_content_serves",
                "tests/unit/xds/test_server.py::test_a_refusal_shows_with_its_origin",
            ),
        ),
        Mutant(
            "nack-does-not-reach-the-agents-status",
            "the agent's status leaves out what its xDS server knows to be refused",
            ENVOY_APPLIER,
            "            return self._rejected\n",
            "            return ()\n",
            ("tests/unit/dataplane/test_cycle.py",),
        ),
        Mutant(
            "refused-listener-counts-as-enrolled",
            "a pod whose listener Envoy refused is captured all the same and loses its HTTP",
            ENVOY_APPLIER,
            "        if any(outcome.item == name for outcome in self._rejected):\n",
            "        if False:\n",
            ("tests/unit/dataplane/test_cycle.py",),
        ),
    ),
)

_COST = Group(
    "a change costs what changed",
    (
        Mutant(
            "derived-again-means-changed",
            "a derived value that came out equal makes everything that read it run again",
            _DERIVE,
            "if value is node.value or value == node.value:",
            "if value is node.value:",
            (f"{_DERIVED}::test_only_what_read_the_change_runs_again",),
        ),
        Mutant(
            "whole-tables-not-recorded",
            "what was derived from a whole table does not follow it",
            _DERIVE,
            "for key in (*differences(before, now), _WHOLE):",
            "for key in differences(before, now):",
            (f"{_DERIVED}::test_after_any_changes_it_is_as_if_derived_from_nothing",),
        ),
        Mutant(
            "derived-values-never-forgotten",
            "values of services that are gone stay in memory",
            _DERIVE,
            "            del known[node.key]\n",
            "",
            (f"{_DERIVED}::test_keys_that_are_gone_are_forgotten",),
        ),
        Mutant(
            "facts-join-everything-anew",
            "what did not change in the facts is another object after each change",
            "agent/tidegate/compile/index.py",
            "if self.get(key) == value:",
            "if self.get(key) is value:",
            ("tests/unit/compile/test_facts.py::test_what_did_not_change_is_the_same_object",),
        ),
        Mutant(
            "a-plan-for-a-pod-that-is-not-open",
            "each enrolment makes two plans, and others' wait for both",
            CYCLE,
            "(facts is facts_before or self._awaits_listeners())",
            "facts is facts_before",
            ("tests/unit/dataplane/test_waiting.py",),
        ),
        Mutant(
            "who-comes-fast-does-not-wait",
            "a pod in an endless crash loop takes turns from others' enrolments",
            "agent/tidegate/dataplane/cni_calls.py",
            "            await self._clock.sleep(patience)\n",
            "            pass\n",
            ("tests/unit/dataplane/test_cni_calls.py",),
        ),
        Mutant(
            "an-enrolled-pod-cannot-ask-yet",
            "the first question of a new pod goes to its own resolver",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "if cookie not in self._shadow.pods and self._naming(cookie):",
            "if False:",
            ("tests/unit/dataplane/test_dns.py",),
        ),
        Mutant(
            "equal-members-made-anew",
            "all rows of a service are other objects when one of them changed",
            "agent/tidegate/compile/derive.py",
            "node.value = keep_members(node.value, value)",
            "node.value = value",
            ("tests/unit/compile/outbound/test_destinations.py",),
        ),
        Mutant(
            "selectors-forget-pods-that-went",
            "a service keeps the endpoints of a pod that is gone",
            "agent/tidegate/compile/facts.py",
            "            changed.append(before)\n",
            "            pass\n",
            ("tests/unit/compile/test_facts.py::test_joined_after_changes_is_joined_from_nothing",),
        ),
    ),
)

GROUPS = (_NACK, _COST)
