"""Indexes that follow a change: a new one shares with the one before it everything that did not change.

An index in force is never written to, because others read it meanwhile. A draft copies it when the first change comes,
which costs some 0.1 ms for 10 000 keys; without a change the draft gives back the index itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def changes(old: Sequence[V], new: Sequence[V]) -> tuple[list[V], list[V]]:
    """(objects of old that new lacks, objects of new that old lacks), told apart by identity, each in its order."""
    if old is new:
        return [], []
    shorter = min(len(old), len(new))
    start = next(compress(count(), map(is_not, old, new)), shorter)
    end = next(compress(count(), map(is_not, reversed(old), reversed(new))), shorter)
    end = min(end, shorter - start)
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    kept = set(map(id, before)).intersection(map(id, after))
    return [o for o in before if id(o) not in kept], [o for o in after if id(o) not in kept]


class Draft(Generic[K, V]):
    """The next state of a mapping."""

    def __init__(self, base: Mapping[K, V]) -> None:
        self._base = base
        self._next: dict[K, V] | None = None

    def get(self, key: K) -> V | None:
        return (self._base if self._next is None else self._next).get(key)

    def set(self, key: K, value: V | None) -> None:
        """None takes the key away. An equal value changes nothing."""
        if self.get(key) == value:
            return
        if self._next is None:
            self._next = dict(self._base)
        if value is None:
            del self._next[key]
        else:
            self._next[key] = value

    def done(self) -> Mapping[K, V]:
        return self._base if self._next is None else self._next


class Groups(Generic[K, V]):
    """The next state of a mapping of groups: tuples of members in an order. An empty group is none."""

    def __init__(self, base: Mapping[K, tuple[V, ...]], order: Callable[[V], Any]) -> None:
        """order: sort key of a member; members of equal keys come in any order, so make it say who is meant."""
        self._base = base
        self._order = order
        self._open: dict[K, dict[int, V]] = {}  # groups that change: members by identity

    def add(self, keys: Iterable[K], member: V) -> None:
        for key in keys:
            self._members(key)[id(member)] = member

    def remove(self, keys: Iterable[K], member: V) -> None:
        for key in keys:
            self._members(key).pop(id(member), None)

    def done(self) -> Mapping[K, tuple[V, ...]]:
        if not self._open:
            return self._base
        out = dict(self._base)
        for key, members in self._open.items():
            # Equal is not enough: who goes is found by identity.
            out[key] = tuple(sorted(members.values(), key=self._order))
            if not members:
                del out[key]
        return out

    def _members(self, key: K) -> dict[int, V]:
        members = self._open.get(key)
        if members is None:
            members = self._open[key] = {id(m): m for m in self._base.get(key, ())}
        return members
