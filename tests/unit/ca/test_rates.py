"""How often a caller may ask."""

from __future__ import annotations

from tidegate.ca.rates import MOST_KEYS, Rates


def test_so_many_at_once_then_so_many_each_second() -> None:
    rates = Rates(2.0, 3)
    assert [rates.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert rates.take("b", 0.0), "each has its own"
    assert [rates.take("a", 0.5) for _ in range(2)] == [True, False]
    assert rates.exhausted("a", 0.9)
    assert not rates.exhausted("a", 1.0)
    assert [rates.take("a", 1000.0) for _ in range(4)] == [True, True, True, False], "no more than at once"


def test_what_is_remembered_is_bounded() -> None:
    rates = Rates(1.0, 1)
    assert rates.take("first", 0.0)
    for number in range(MOST_KEYS):
        rates.take(str(number), 0.0)
    assert rates.take("first", 0.0), "who was forgotten begins anew"
    assert not rates.take(str(MOST_KEYS - 1), 0.0)
