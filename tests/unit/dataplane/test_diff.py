from __future__ import annotations

from tidegate.dataplane.diff import diff


def test_equal_tables_need_nothing() -> None:
    assert not diff({"a": 1}, {"a": 1})


def test_new_changed_and_gone_rows() -> None:
    plan = diff({"same": 1, "changed": 1, "gone": 1}, {"same": 1, "changed": 2, "new": 3})
    assert plan.put == (("changed", 2), ("new", 3))
    assert plan.remove == ("gone",)
