"""Values derived by key, which follow changes: a function is run again only when something that it read has changed.

    SERVICES: Input[str, Service] = Input("services")

    @derived
    def ports(read: Read, fqdn: str) -> tuple[int, ...]:
        service = read(SERVICES, fqdn)          # recorded, also when there is none
        return tuple(p.port for p in service.ports) if service else ()

    derivations.change({SERVICES: facts.services})
    derivations.each(ports, SERVICES).values    # fqdn -> ports, of all services

What a function returns when it is run again and equals what it returned before is thrown away: whoever derived from
the old object stays as it is, and so do the appliers, which compare by identity first. So are members of a tuple that
were in it before. A function must be pure, must read through `read` only, and must return what nobody writes to.

Inside (compile/nodes.py): a node stands for one key of a function or of an input. A change marks what read it as STALE,
and what read that, and so on, as DOUBTFUL. A doubtful node asks first whether its own reads became something else.
Nodes that nobody reads any more, and that no each() wants, go with forget_unused().
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar, overload

from tidegate.compile.each import Each, Union
from tidegate.compile.nodes import CURRENT, DOUBTFUL, RUNNING, STALE, GraphNode, differences, keep_members, mark

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
    """How functions get at tables and at each other. This one is for tables that never change: it records nothing,
    remembers what it derived, and may be used from several threads."""

    __slots__ = ("_derived", "_tables")

    def __init__(self, tables: Mapping[Input[Any, Any], Mapping[Any, Any]]) -> None:
        self._tables = tables
        self._derived: dict[tuple[Derived[Any, Any], Any], Any] = {}

    @overload
    def __call__(self, source: Input[K, V], key: K) -> V | None: ...
    @overload
    def __call__(self, source: Derived[K, V], key: K) -> V: ...
    def __call__(self, source: Input[Any, Any] | Derived[Any, Any], key: Any) -> Any:
        """The value of one key; None for a key that an input does not have."""
        if isinstance(source, Input):
            return self._tables.get(source, {}).get(key)
        if (source, key) not in self._derived:
            self._derived[source, key] = source.function(self, key)
        return self._derived[source, key]

    def all(self, source: Input[K, V]) -> Mapping[K, V]:
        """The whole table. A function that reads it is run again with each change of it, so let it boil the table
        down for others."""
        return self._tables.get(source, {})


class _Recorded(Read):
    """What a derived function reads through."""

    __slots__ = ("_derivations", "_node", "recorded")

    def __init__(self, derivations: Derivations, node: GraphNode) -> None:
        self._derivations = derivations
        self._node = node
        self.recorded: dict[GraphNode, None] = {}

    def __call__(self, source: Input[Any, Any] | Derived[Any, Any], key: Any) -> Any:
        node = self._derivations.current(source, key)
        if node not in self.recorded:
            self.recorded[node] = None
            node.add_reader(self._node)
        return node.value

    def all(self, source: Input[K, V]) -> Mapping[K, V]:
        whole: Mapping[K, V] = self(source, _WHOLE)
        return whole


class Derivations:
    """The inputs, and every derived value that somebody wants. For one thread at a time."""

    def __init__(self) -> None:
        self._tables: dict[Input[Any, Any], Mapping[Any, Any]] = {}
        self._nodes: dict[Input[Any, Any] | Derived[Any, Any], dict[Any, GraphNode]] = {}
        self._each: dict[tuple[Derived[Any, Any], Keys[Any]], Each[Any, Any]] = {}
        self._unions: dict[Spread[Any], Union] = {}
        self._asking: Each[Any, Any] = Each()
        self._asked: dict[GraphNode, bool] = {}  # by value(): whether since the last forget_unused()
        self._unread: list[GraphNode] = []
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

    def table(self, source: Input[K, V]) -> Mapping[K, V]:
        """An input as of the last change()."""
        return self._tables.get(source, {})

    def each(self, function: Derived[K, V], keys: Keys[K]) -> Each[K, V]:
        """The function's values for all of these keys; what did not change is the same object."""
        each: Each[K, V] = self._each.setdefault((function, keys), Each())
        for _ in self._follow(each, function, keys):
            pass
        return each

    def value(self, function: Derived[K, V], key: K) -> V:
        """The function's value for one key, kept until nobody asks for it between one forget_unused() and the next."""
        node = self.current(function, key)
        if node not in self._asked:
            node.pins = (*node.pins, self._asking)
        self._asked[node] = True
        found: V = node.value
        return found

    def forget_unused(self) -> None:
        """Drop what nobody reads any more."""
        for node in [node for node, lately in self._asked.items() if not lately]:
            del self._asked[node]
            node.pins = tuple(pin for pin in node.pins if pin is not self._asking)
            self._unread.append(node)
        self._asked = dict.fromkeys(self._asked, False)
        self._asking.waiting.clear()
        while self._unread:
            node = self._unread.pop()
            known = self._nodes[node.source]
            if node.readers or node.pins or known.get(node.key) is not node:
                continue
            del known[node.key]
            self._leave(node, node.reads)
            node.reads = ()

    def current(self, source: Input[Any, Any] | Derived[Any, Any], key: Any) -> GraphNode:
        """The node of a key, as it is now. For Read."""
        nodes = self._nodes.setdefault(source, {})
        node = nodes.get(key)
        if node is None:
            node = nodes[key] = GraphNode(source, key)
            if isinstance(source, Input):
                table = self._tables.get(source, {})
                node.state = CURRENT
                node.value = table if key is _WHOLE else table.get(key)
        if node.state != CURRENT:
            self._refresh(node)
        return node

    def _refresh(self, node: GraphNode) -> None:
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

    def _run(self, node: GraphNode) -> None:
        source = node.source
        assert isinstance(source, Derived)
        read = _Recorded(self, node)
        recorded = read.recorded
        node.state = RUNNING
        self.runs += 1
        try:
            value = source.function(read, node.key)
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
        node.value = keep_members(node.value, value)
        for reader in node.readers:
            if reader.state != RUNNING:
                reader.state = STALE

    def _leave(self, node: GraphNode, reads: Iterable[GraphNode]) -> None:
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
                each.drop(key)
                node.pins = tuple(pin for pin in node.pins if pin is not each)
                self._unread.append(node)
            for key in wanted:
                if key not in each.nodes:
                    node = self._nodes.setdefault(function, {}).get(key) or GraphNode(function, key)
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
        union = self._unions.setdefault(keys, Union())
        return union.follow(self._follow(union.members, keys.function, keys.over))
