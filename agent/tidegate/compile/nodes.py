"""The graph under compile/derive.py: who read what, and whether it is still so."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import compress
from operator import is_, is_not
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from tidegate.compile.derive import Derived, Input
    from tidegate.compile.each import Each

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

CURRENT, DOUBTFUL, STALE, RUNNING = range(4)
NEVER: Final = object()  # the value of what was not run yet
_MANY = 8  # readers; more are kept in a set
_COMPARED = 4096  # pairs of members, at most


class GraphNode:
    """One key of an input (then it is called a cell) or of a function."""

    __slots__ = ("key", "pins", "readers", "reads", "source", "state", "value")

    def __init__(self, source: Input[Any, Any] | Derived[Any, Any], key: Any) -> None:
        self.source = source
        self.key = key
        self.value: Any = NEVER
        self.state = STALE
        self.reads: tuple[GraphNode, ...] = ()
        self.readers: tuple[GraphNode, ...] | set[GraphNode] = ()  # a set when there are many
        self.pins: tuple[Each[Any, Any], ...] = ()

    def add_reader(self, node: GraphNode) -> None:
        if isinstance(self.readers, set):
            self.readers.add(node)
        elif node not in self.readers:
            self.readers = (*self.readers, node) if len(self.readers) < _MANY else {*self.readers, node}

    def drop_reader(self, node: GraphNode) -> None:
        if isinstance(self.readers, set):
            self.readers.discard(node)
        else:
            self.readers = tuple(reader for reader in self.readers if reader is not node)


def mark(cell: GraphNode) -> None:
    """A cell changed: who read it must run again, and who read those must ask."""
    waiting = list(cell.readers)
    for node in waiting:
        if node.state == DOUBTFUL:
            node.state = STALE  # its own readers know already
    fresh = [node for node in waiting if node.state == CURRENT]
    for node in fresh:
        node.state = STALE
    while fresh:
        node = fresh.pop()
        for pin in node.pins:
            pin.waiting[node] = None
        for reader in node.readers:
            if reader.state == CURRENT:
                reader.state = DOUBTFUL
                fresh.append(reader)


def differences(before: Mapping[K, V], now: Mapping[K, V]) -> list[K]:
    """Keys whose value is not equal, or that only one of the two has. Asks for identity first."""
    if len(before) == len(now) and all(map(is_, before, now)):  # the same keys in the same order: the usual case
        others: Iterable[K] = compress(now, map(is_not, before.values(), now.values()))
        return [key for key in others if before[key] != now[key]]
    return [
        *(key for key in before if key not in now),
        *(key for key, value in now.items() if (old := before.get(key, NEVER)) is not value and old != value),
    ]


def keep_members(before: Any, now: Any) -> Any:
    """A tuple with those members of before that equal its own; anything else as it is."""
    if type(before) is not tuple or type(now) is not tuple or len(before) * len(now) > _COMPARED:
        return now
    return tuple(next((old for old in before if old is new or old == new), new) for new in now)
