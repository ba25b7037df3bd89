from __future__ import annotations

import random

from tidegate.compile.index import Draft, Groups, changes


class Thing:
    """Told apart by identity."""


def test_changes_are_found_by_identity() -> None:
    chance = random.Random(1)
    for _ in range(300):
        pool = [Thing() for _ in range(8)]
        old, new = ([thing for thing in pool if chance.random() < 0.6] for _ in range(2))
        if chance.random() < 0.3:
            chance.shuffle(new)
        gone, come = changes(old, new)
        assert set(gone) == set(old) - set(new)
        assert set(come) == set(new) - set(old)
    same = (Thing(),)
    assert changes(same, same) == ([], [])


def test_a_draft_writes_to_a_copy_and_only_if_something_changes() -> None:
    base = {"a": 1, "b": 2}
    draft = Draft(base)
    draft.set("a", 1)
    draft.set("c", None)
    assert draft.done() is base
    draft.set("a", 3)
    draft.set("b", None)
    assert (draft.done(), base) == ({"a": 3}, {"a": 1, "b": 2})


def test_groups_keep_their_order_and_go_when_they_are_empty() -> None:
    one, two, three = "b", "a", "c"
    groups = Groups({"g": (one,)}, order=str)
    groups.add("gh", two)
    groups.add("h", three)
    done = groups.done()
    assert done == {"g": ("a", "b"), "h": ("a", "c")}
    less = Groups(done, order=str)
    less.remove("g", one)
    less.remove("gh", two)
    less.remove("x", two)
    assert less.done() == {"h": ("c",)}
    assert Groups(done, order=str).done() is done
