"""Chains of a pod's listener whose connections live on when their rule goes."""

from __future__ import annotations

from typing import Any

from tests.support.configs import destination_rule
from tests.unit.compile.test_carried import DB, SPLIT, TLS, plan_of

from tidegate.dataplane.appliers.kept_chains import with_kept
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, EnvoyResource

RULE = destination_rule("r", "db", TLS)


def listener(plan: Plan) -> EnvoyResource:
    return plan.envoy[LISTENERS][plan.pods[0].listener]


def chains(resource: EnvoyResource) -> list[Any]:
    return list(resource.body["filter_chains"])


def test_a_chain_stays_as_it_was_with_what_it_leads_to() -> None:
    before, after = plan_of(RULE), plan_of()
    kept = with_kept(listener(before), listener(after), after.envoy[CLUSTERS])
    assert chains(kept) == chains(listener(before))
    assert kept.needs(CLUSTERS) == [f"outbound|5432||{DB}"]
    again = with_kept(kept, listener(after), after.envoy[CLUSTERS])
    assert chains(again) == chains(kept)


def test_a_new_chain_for_the_same_connections_takes_its_place() -> None:
    before, after = plan_of(RULE), plan_of(RULE, SPLIT)
    kept = with_kept(listener(before), listener(after), after.envoy[CLUSTERS])
    assert kept is listener(after)


def test_nothing_is_kept_of_what_was_never_there_or_leads_nowhere() -> None:
    before, after = plan_of(RULE), plan_of()
    assert with_kept(None, listener(after), after.envoy[CLUSTERS]) is listener(after)
    assert with_kept(listener(before), listener(after), {}) is listener(after)
