from __future__ import annotations

from tidegate.runtime.retries import Retries


def retries(jitter: float = 0.0) -> Retries[str]:
    return Retries(1.0, 60.0, lambda: jitter)


def test_an_item_is_due_later_and_later() -> None:
    some = retries()
    now, delays = 0.0, []
    for _ in range(8):
        some.refused("pod", now)
        due = some.next_due()
        assert due is not None
        assert (some.waits("pod", due - 0.01), some.waits("pod", due)) == (True, False)
        assert some.take(due - 0.01) == []
        assert some.take(due) == ["pod"]
        assert some.next_due() is None
        delays.append(due - now)
        now = due
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_each_item_has_a_back_off_of_its_own() -> None:
    some = retries()
    for _ in range(3):
        some.refused("often", 0.0)
    some.refused("once", 0.0)
    assert (some.waits("once", 1.0), some.waits("often", 3.9), some.waits("never", 0.0)) == (False, True, False)


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    some = retries()
    some.refused("pod", 0.0)
    some.keep(["other"])
    assert some.take(1e9) == []


def test_what_succeeded_starts_over() -> None:
    some = retries()
    for _ in range(5):
        some.refused("pod", 0.0)
    some.forget("pod")
    some.refused("pod", 0.0)
    assert some.next_due() == 1.0


def test_jitter_spreads_attempts() -> None:
    some = retries(jitter=0.5)
    some.refused("pod", 0.0)
    assert some.next_due() == 0.75
