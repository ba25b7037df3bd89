from __future__ import annotations

from tidegate.runtime.backoff import Backoff


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(jitter=lambda: 0.0, base=0.1, cap=1.0)
    assert [round(backoff.next(0.0), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_long_life_starts_over() -> None:
    backoff = Backoff(jitter=lambda: 0.0, base=0.1, reset_after=10.0)
    for _ in range(5):
        backoff.next(1.0)
    assert backoff.next(10.0) == 0.1


def test_jitter_shortens_by_up_to_half() -> None:
    assert Backoff(jitter=lambda: 0.0, base=1.0).next(0) == 1.0
    assert Backoff(jitter=lambda: 0.5, base=1.0).next(0) == 0.75


def test_thousands_of_failures_do_not_overflow() -> None:
    backoff = Backoff(jitter=lambda: 0.0, cap=30.0)
    assert [backoff.next(0.0) for _ in range(5000)][-1] == 30.0
