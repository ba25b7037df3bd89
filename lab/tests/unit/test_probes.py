from __future__ import annotations

from tidegate_lab import spec
from tidegate_lab.probes import ProbeThreshold


def probe(success: int = 1, failure: int = 3) -> spec.Probe:
    body = {"tcpSocket": {"port": 1}, "successThreshold": success, "failureThreshold": failure}
    return spec.Probe.model_validate(body)


def changes(verdict: ProbeThreshold, outcomes: str) -> str:
    """One character per outcome: + or - where the verdict changed, . where it did not."""
    seen = ""
    for outcome in outcomes:
        changed = verdict.record(outcome == "+")
        seen += "." if not changed else "+" if verdict.value else "-"
    return seen


def test_a_verdict_changes_after_so_many_in_a_row() -> None:
    assert changes(ProbeThreshold(probe(success=2), start=False), "+-++--+---") == "...+.....-"


def test_a_verdict_that_was_assumed_is_not_reported() -> None:
    assert changes(ProbeThreshold(probe(), start=True), "++--+---") == ".......-"


def test_without_an_assumption_the_first_threshold_is_a_change() -> None:
    assert changes(ProbeThreshold(probe(failure=2)), "--") == ".-"
    assert changes(ProbeThreshold(probe()), "+") == "+"
