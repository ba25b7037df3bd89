"""The table of callers that is shown to operators is one."""

from __future__ import annotations

from pathlib import Path

from tidegate.ca.callers import caller_table
from tidegate.model.identity import Identity

SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "authority" / "callers.toml"


def test_both_callers_may_what_the_sample_says() -> None:
    table = caller_table(SAMPLE.read_bytes(), SAMPLE.name)
    (node,) = table.by_digest.values()
    assert node.names(Identity("tools", "anything"))
    assert not node.names(Identity("default", "details"))
    assert table.by_account[Identity("istio-system", "tidegate")].of_its_node
