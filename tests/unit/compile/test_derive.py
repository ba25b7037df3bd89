"""Derived values follow their inputs: equal to those derived from nothing, the same objects where nothing changed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from tidegate.compile.derive import Derivations, Derived, Input, Read, Spread, derived

NUMBERS: Input[str, int] = Input("numbers")
LINKS: Input[str, tuple[str, ...]] = Input("links")  # name -> names


@derived
def number(read: Read, name: str) -> list[int]:
    """A list, so that equal values can be told apart."""
    return [read(NUMBERS, name) or 0]


@derived
def parity(read: Read, name: str) -> list[bool]:
    return [read(number, name)[0] % 2 == 0]


@derived
def reach(read: Read, name: str) -> list[tuple[str, bool]]:
    return [(other, read(parity, other)[0]) for other in read(LINKS, name) or ()]


@derived
def total(read: Read, name: str) -> list[Any]:
    return [name, sum(read.all(NUMBERS).values()), read(reach, name)]


@derived
def linked(read: Read, name: str) -> tuple[str, ...]:
    return read(LINKS, name) or ()


TARGETS = Spread(linked, LINKS)
TARGETS_OF_TARGETS = Spread(linked, TARGETS)
WANTED: list[tuple[Derived[str, Any], Any]] = [
    (parity, NUMBERS),
    (reach, LINKS),
    (total, LINKS),
    (number, TARGETS),
    (reach, TARGETS_OF_TARGETS),
]


def everything(derivations: Derivations) -> list[Mapping[str, Any]]:
    return [dict(derivations.each(function, keys).values) for function, keys in WANTED]


def fresh(*tables: Mapping[Input[Any, Any], Any]) -> Derivations:
    derivations = Derivations()
    for table in tables:
        derivations.change(table)
    return derivations


@pytest.mark.parametrize("seed", range(30))
def test_after_any_changes_it_is_as_if_derived_from_nothing(seed: int) -> None:
    chance = random.Random(seed)
    numbers: dict[str, int] = {}
    links: dict[str, tuple[str, ...]] = {}
    derivations = Derivations()
    before: list[Mapping[str, Any]] = [{} for _ in WANTED]
    for _ in range(60):
        numbers, links = dict(numbers), dict(links)
        for _ in range(chance.randrange(3)):
            name = chance.choice("abcdef")
            if chance.random() < 0.4:
                numbers[name] = chance.randrange(4)
            elif chance.random() < 0.6:
                links[name] = tuple(chance.sample("abcdef", chance.randrange(4)))
            else:
                (numbers if chance.random() < 0.5 else links).pop(name, None)
        derivations.change({NUMBERS: numbers, LINKS: links})
        now = everything(derivations)
        derivations.forget_unused()
        new = fresh({NUMBERS: numbers, LINKS: links})
        assert now == everything(new)
        new.forget_unused()
        assert len(derivations) == len(new), "nothing is kept that is not needed"
        for old_values, values in zip(before, now, strict=True):
            for key, value in values.items():
                assert value is old_values.get(key) or value != old_values.get(key), "equal, so the same object"
        before = now


def test_only_what_read_the_change_runs_again() -> None:
    names = [f"n{i}" for i in range(1000)]
    derivations = fresh({NUMBERS: dict.fromkeys(names, 2), LINKS: {name: (name,) for name in names}})
    reached = derivations.each(reach, LINKS)
    first, runs = reached.ordered(), derivations.runs
    assert reached.ordered() is first
    derivations.change({NUMBERS: {**dict.fromkeys(names, 2), "n7": 4}})
    assert derivations.each(reach, LINKS).ordered() is first, "still even"
    assert derivations.runs == runs + 2, "number and parity of n7"
    derivations.change({NUMBERS: {**dict.fromkeys(names, 2), "n7": 5}})
    second = derivations.each(reach, LINKS).ordered()
    assert [a for a, b in zip(first, second, strict=True) if a is not b] == [[("n7", True)]]
    assert derivations.runs == runs + 5


def test_what_was_absent_is_a_read_too() -> None:
    derivations = fresh({LINKS: {"a": ("later",)}})
    assert derivations.each(reach, LINKS).values == {"a": [("later", True)]}
    derivations.change({NUMBERS: {"later": 1}})
    assert derivations.each(reach, LINKS).values == {"a": [("later", False)]}


def test_a_function_that_fails_is_run_again() -> None:
    @derived
    def inverse(read: Read, name: str) -> float:
        return 12 / (read(NUMBERS, name) or 0)

    @derived
    def half(read: Read, name: str) -> float:
        return read(inverse, name) / 2

    derivations = fresh({NUMBERS: {"a": 3, "b": 0}})
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            derivations.each(half, NUMBERS)
    derivations.change({NUMBERS: {"a": 3, "b": 4}})
    assert derivations.each(half, NUMBERS).values == {"a": 2.0, "b": 1.5}


def test_a_value_that_needs_itself_is_refused() -> None:
    @derived
    def chase(read: Read, name: str) -> int:
        return read(onward, (read(LINKS, name) or ("",))[0])

    @derived
    def onward(read: Read, name: str) -> int:
        return read(chase, name) if name else 0

    derivations = fresh({LINKS: {"a": ("b",), "b": ("a",)}})
    with pytest.raises(RuntimeError, match="reads itself"):
        derivations.each(chase, LINKS)
    derivations.change({LINKS: {"a": ("b",), "b": ()}})
    derivations.change({LINKS: {"a": ("b",)}})
    assert derivations.each(chase, LINKS).values == {"a": 0}


def test_keys_that_are_gone_are_forgotten() -> None:
    derivations = fresh({NUMBERS: {f"n{i}": i for i in range(500)}, LINKS: {"a": tuple(f"n{i}" for i in range(500))}})
    everything(derivations)
    derivations.change({NUMBERS: {}, LINKS: {}})
    everything(derivations)
    derivations.forget_unused()
    assert len(derivations) == 0
