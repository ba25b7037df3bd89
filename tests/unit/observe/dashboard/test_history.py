from __future__ import annotations

import pytest

from tidegate.observe.dashboard.history import GAP, SPAN, History, Key, Sample

A: Key = ("kernel", "a")


def sample(at: float, value: float | None, *, live: float = 0.0, source: str = "kernel") -> Sample:
    counters = {} if value is None else {A: value}
    return Sample(at, frozenset({source}), counters, {"a": A, "live": live})


def history(*samples: Sample) -> History:
    made = History()
    for one in samples:
        made.add(one)
    return made


def test_nothing_is_told_before_there_is_something_to_compare() -> None:
    assert History().rate(A) is None
    first = history(sample(0, 5))
    assert (first.rate(A), first.series("a"), first.window) == (None, [], 0.0)


def test_a_rate_is_the_mean_over_the_window_and_a_point_the_last_step() -> None:
    made = history(sample(0, 100), sample(2, 100), sample(4, 110))
    assert (made.rate(A), made.window) == (2.5, 4)
    assert made.series("a") == [[-2, 0.0], [0.0, 5.0]]


def test_what_is_older_than_the_window_no_longer_counts() -> None:
    made = history(*(sample(at, 1000 if at else 0) for at in range(0, 14, 2)))
    assert made.rate(A) == 0


def test_a_counter_that_fell_was_reset() -> None:
    assert history(sample(0, 1000), sample(2, 6)).rate(A) == 3


def test_a_counter_that_appears_began_at_nothing() -> None:
    assert history(sample(0, None), sample(2, 6)).rate(A) == 3


def test_a_source_that_was_away_gives_no_rate_instead_of_a_false_one() -> None:
    made = history(sample(0, None, source="other"), sample(2, 1_000_000))
    assert made.rate(A) is None
    assert made.series("a") == [[0.0, None]]


def test_values_are_drawn_as_they_are() -> None:
    assert history(sample(0, 0, live=3), sample(2, 0, live=4)).series("live") == [[0.0, 4.0]]


def test_after_nobody_looked_for_long_it_begins_again() -> None:
    made = history(sample(0, 0), sample(2, 10), sample(2 + GAP + 1, 10))
    assert (made.rate(A), made.series("a")) == (None, [])


def test_a_series_is_bounded() -> None:
    made = history(*(sample(at, at) for at in range(0, 1000, 2)))
    assert len(made.series("a")) == SPAN / 2 + 1
    assert made.series("a")[0][0] == pytest.approx(-SPAN)
