"""Values derived by key, which follow changes: a function is run again only when something that it read has changed.

    SERVICES: Input[str, Service] = Input("services")

    @derived
    def ports(read: Read, fqdn: str) -> tuple[int, ...]:
        service = read(SERVICES, fqdn)          # recorded, also when there is none
        return tuple(p.port for p in service.ports) if service else ()

    derivations.change({SERVICES: facts.services})
    derivations.each(ports, SERVICES).values    # fqdn -> ports, of all services

What a function returns when it is run again and equals what it returned before is thrown away: whoever derived from
the old object stays as it is, and so do the appliers, which compare by identity first. A function must be pure, must
read through `read` only, and must return what nobody writes to.

Inside (compile/nodes.py): a node stands for one key of a function or of an input. A change marks what read it as STALE,
and what read that, and so on, as DOUBTFUL. A doubtful node asks first whether its own reads became something else.
Nodes that nobody reads any more, and that no each() wants, go with forget_unused().
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar, overload

from tidegate.compile.nodes import CURRENT, DOUBTFUL, RUNNING, STALE, Node, differences, mark

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)

_WHOLE: Final = object()  # key of the cell that stands for all of an input


class Input(Generic[K, V]):
    """A table that comes from outside."""

    def __init__(self, name: str) -> None:
        self.name = name


class Derived(Generic[K_contra, V_co]):
    """A pure function of a key and of what it reads. Make it with @derived."""

    def __init__(self, function: Callable[[Read, K_contra], V_co]) -> None:
        self.function = function
        self.name = function.__name__


class Spread(Generic[K]):
    """The keys that a function names for any of the keys over which it is spread, each once."""

    def __init__(self, function: Derived[Any, Collection[K]], over: Input[Any, Any] | Spread[Any]) -> None:
        self.function = function
        self.over = over


Keys = Input[K, Any] | Spread[K]


def derived(function: Callable[[Read, K], V]) -> Derived[K, V]:
    """Declare a derived value."""
    return Derived(function)


class Read:
    """How a derived function gets at anything; what it reads is recorded."""

    __slots__ = ("_derivations", "_node", "_recorded")

    def __init__(self, derivations: Derivations, node: Node, recorded: dict[Node, None]) -> None:
        self._derivations = derivations
        self._node = node
        self._recorded = recorded

    @overload
    def __call__(self, source: Input[K, V], key: K) -> V | None: ...
    @overload
    def __call__(self, source: Derived[K, V], key: K) -> V: ...
    def __call__(self, source: Input[K, V] | Derived[K, V], key: K) -> V | None:
        """The value of one key; None for a key that an input does not have."""
        found: V | None = self._record(self._derivations.current(source, key))
        return found

    def all(self, source: Input[K, V]) -> Mapping[K, V]:
        """The whole table. The function is run again with each change of it, so let it boil the table down."""
        whole: Mapping[K, V] = self._record(self._derivations.current(source, _WHOLE))
        return whole

    def _record(self, node: Node) -> Any:
        if node not in self._recorded:
            self._recorded[node] = None
            node.add_reader(self._node)
        return node.value


class Each(Generic[K, V]):
    """A function's values for all keys of a table or spread, as of the last each()."""

    def __init__(self) -> None:
        self.values: dict[K, V] = {}
        self.nodes: dict[K, Node] = {}
        self.waiting: dict[Node, None] = {}  # wanted, and perhaps not what they were
        self.followed: object = None  # the keys that were looked at last
        self._ordered: tuple[V, ...] | None = ()

    def ordered(self) -> tuple[V, ...]:
        """The values in the order of their keys; the same tuple while nothing changed."""
        if self._ordered is None:
            self._ordered = tuple([self.values[key] for key in sorted(self.values)])  # type: ignore[type-var]
        return self._ordered

    def store(self, key: K, value: V) -> None:
        self.values[key] = value
        self._ordered = None

    def drop(self, key: K) -> None:
        del self.values[key]
        self._ordered = None


class Derivations:
    """The inputs, and every derived value that somebody wants. For one thread at a time."""

    def __init__(self) -> None:
        self._tables: dict[Input[Any, Any], Mapping[Any, Any]] = {}
        self._nodes: dict[Input[Any, Any] | Derived[Any, Any], dict[Any, Node]] = {}
        self._each: dict[tuple[Derived[Any, Any], Keys[Any]], Each[Any, Any]] = {}
        self._unions: dict[Spread[Any], _Union] = {}
        self._unread: list[Node] = []
        self.runs = 0  # how often a function was run: what the changes so far did cost

    def __len__(self) -> int:
        """How many values are kept, cells of inputs included."""
        return sum(map(len, self._nodes.values()))

    def change(self, tables: Mapping[Input[Any, Any], Mapping[Any, Any]]) -> None:
        """The inputs as they are now; one that is left out stays as it was. They are borrowed: never write to them."""
        for table, now in tables.items():
            before = self._tables.get(table, {})
            self._tables[table] = now
            cells = self._nodes.get(table)
            if now is before or not cells:
                continue
            for key in (*differences(before, now), _WHOLE):
                cell = cells.get(key)
                if cell is not None:
                    cell.value = now if key is _WHOLE else now.get(key)
                    mark(cell)

    def each(self, function: Derived[K, V], keys: Keys[K]) -> Each[K, V]:
        """The function's values for all of these keys; what did not change is the same object."""
        each: Each[K, V] = self._each.setdefault((function, keys), Each())
        for _ in self._follow(each, function, keys):
            pass
        return each

    def forget_unused(self) -> None:
        """Drop what nobody reads any more."""
        while self._unread:
            node = self._unread.pop()
            known = self._nodes[node.source]
            if node.readers or node.pins or known.get(node.key) is not node:
                continue
            del known[node.key]
            self._leave(node, node.reads)
            node.reads = ()

    def current(self, source: Input[Any, Any] | Derived[Any, Any], key: Any) -> Node:
        """The node of a key, as it is now. For Read."""
        nodes = self._nodes.setdefault(source, {})
        node = nodes.get(key)
        if node is None:
            node = nodes[key] = Node(source, key)
            if isinstance(source, Input):
                table = self._tables.get(source, {})
                node.state = CURRENT
                node.value = table if key is _WHOLE else table.get(key)
        if node.state != CURRENT:
            self._refresh(node)
        return node

    def _refresh(self, node: Node) -> None:
        """Make a node current: ask what it read; run it if any of that is another value by now."""
        if node.state == RUNNING:
            raise RuntimeError(f"{node.source.name}({node.key!r}) reads itself")
        if node.state == DOUBTFUL:
            for read in node.reads:
                if read.state != CURRENT:
                    self._refresh(read)
                    if node.state == STALE:
                        break
            else:
                node.state = CURRENT
                return
        self._run(node)

    def _run(self, node: Node) -> None:
        source = node.source
        assert isinstance(source, Derived)
        recorded: dict[Node, None] = {}
        node.state = RUNNING
        self.runs += 1
        try:
            value = source.function(Read(self, node, recorded), node.key)
        except BaseException:
            node.state = STALE
            node.reads = tuple({**dict.fromkeys(node.reads), **recorded})
            raise
        left = [read for read in node.reads if read not in recorded]
        node.reads = tuple(recorded)
        self._leave(node, left)
        node.state = CURRENT
        if value is node.value or value == node.value:
            return
        node.value = value
        for reader in node.readers:
            if reader.state != RUNNING:
                reader.state = STALE

    def _leave(self, node: Node, reads: Iterable[Node]) -> None:
        for read in reads:
            read.drop_reader(node)
            if not read.readers:
                self._unread.append(read)

    def _follow(self, each: Each[K, V], function: Derived[K, V], keys: Keys[K]) -> Iterator[K]:
        """Bring an each up to date; the keys whose value changed, came or went."""
        wanted = self._keys(keys)
        if each.followed is not wanted:
            for key in [key for key in each.nodes if key not in wanted]:
                yield key
                node = each.nodes.pop(key)
                each.waiting.pop(node, None)
                if key in each.values:
                    each.drop(key)
                node.pins = tuple(pin for pin in node.pins if pin is not each)
                self._unread.append(node)
            for key in wanted:
                if key not in each.nodes:
                    node = self._nodes.setdefault(function, {}).get(key) or Node(function, key)
                    self._nodes[function][key] = each.nodes[key] = node
                    node.pins = (*node.pins, each)
                    each.waiting[node] = None
            each.followed = wanted
        for node in list(each.waiting):
            if node.state != CURRENT:
                self._refresh(node)
            del each.waiting[node]
            if node.key not in each.values or each.values[node.key] is not node.value:
                each.store(node.key, node.value)
                yield node.key

    def _keys(self, keys: Keys[K]) -> Mapping[K, object]:
        if isinstance(keys, Input):
            return self._tables.get(keys, {})
        union = self._unions.setdefault(keys, _Union())
        return union.follow(self._follow(union.members, keys.function, keys.over))


class _Union:
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
