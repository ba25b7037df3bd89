"""Collections of derived values that follow changes: what Derivations.each() gives, and what a Spread stands on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

from tidegate.compile.nodes import GraphNode, differences

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

_FEW: Final = 64  # changed keys, up to which a sorted list is patched


class Ordered(Generic[K, V]):
    """Values in the order of their keys, whose comparison may be slow."""

    def __init__(self) -> None:
        self.values: dict[K, V] = {}
        self._order: list[Any] = []  # keys, sorted, as of the last ordered()
        self._ordered: tuple[V, ...] = ()
        self._news: dict[K, None] = {}  # keys that changed, came or went since then

    def ordered(self) -> tuple[V, ...]:
        """The values; the same tuple while nothing changed."""
        if self._news:
            if len(self._news) > _FEW:
                self._order = sorted(cast(Any, self.values))
                self._ordered = tuple(map(self.values.__getitem__, self._order))
            else:
                self._ordered = self._patched(list(self._ordered))
            self._news.clear()
        return self._ordered

    def _patched(self, values: list[V]) -> tuple[V, ...]:
        for key in self._news:
            place = bisect_left(self._order, cast(Any, key))
            known = place < len(self._order) and self._order[place] == key
            if key not in self.values:
                if known:
                    del self._order[place], values[place]
            elif known:
                values[place] = self.values[key]
            else:
                self._order.insert(place, key)
                values.insert(place, self.values[key])
        return tuple(values)

    def store(self, key: K, value: V) -> None:
        self.values[key] = value
        self._news[key] = None

    def drop(self, key: K) -> None:
        if key in self.values:
            del self.values[key]
            self._news[key] = None


class Each(Ordered[K, V]):
    """A function's values for all keys of a table or spread, as of the last each()."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[K, GraphNode] = {}
        self.waiting: dict[GraphNode, None] = {}  # wanted, and perhaps not what they were
        self.followed: object = None  # the keys that were looked at last


class Mapped(Generic[K, V, T]):
    """A table, row by row: for what depends on nothing but the row, and is not worth a node for each."""

    def __init__(self, function: Callable[[K, V], T | None], order: Callable[[K], Hashable]) -> None:
        """function: None leaves the row out. order: sort key of a row's key, unequal for unequal keys."""
        self._function = function
        self._order = order
        self._table: Mapping[K, V] = {}
        self._rows: Ordered[Hashable, T] = Ordered()

    def follow(self, table: Mapping[K, V]) -> tuple[T, ...]:
        """The rows as they are now; the same tuple while nothing changed."""
        for key in differences(self._table, table):
            row = self._function(key, table[key]) if key in table else None
            place = self._order(key)
            if row is None:
                self._rows.drop(place)
            elif self._rows.values.get(place) != row:
                self._rows.store(place, row)
        self._table = table
        return self._rows.ordered()


class Union:
    """State of a Spread: the keys, and how many members name each. The mapping is another one when the keys changed."""

    def __init__(self) -> None:
        self.members: Each[Any, Any] = Each()
        self.told: dict[Any, frozenset[Any]] = {}
        self.counts: dict[Any, int] = {}

    def follow(self, changed: Iterable[Any]) -> Mapping[Any, int]:
        counts = self.counts
        for member in list(changed):
            old = self.told.pop(member, frozenset())
            new = frozenset(self.members.values.get(member, ()))
            if new:
                self.told[member] = new
            if new != old and counts is self.counts:
                counts = dict(counts)
            for key in new - old:
                counts[key] = counts.get(key, 0) + 1
            for key in old - new:
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]
        self.counts = counts
        return counts
