"""YAML text -> plain values that remember where they were written.

A file is cut into documents before parsing, because one document that is no YAML must not hide the others. The C
parser's node graph carries marks; mappings and lists built from it keep the line of every member.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

# A document boundary is a line that starts with --- or ...; nothing inside a document, block scalars included, can.
_BOUNDARY = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|$)")
# Aliases are expanded, so a few lines could describe a huge tree.
_MAX_NODES = 500_000
_MAX_DEPTH = 100
# The C composer recurses without looking at its stack; so many levels are safe on every thread.
_COMPOSER_DEPTH = 2000
_MAX_NUMBER = 400  # characters; longer ones cost quadratic time and do not print
_TOO_BIG = "is too large or too deep once its aliases are expanded"
_CONSTRUCT = yaml.constructor.SafeConstructor()


def format_path(path: Path) -> str:
    """``spec.http[0].match``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


class YamlMap(dict[str, Any]):
    """A mapping with its place, and the line of each key."""

    def __init__(self, path: Path = (), line: int = 1) -> None:
        super().__init__()
        self.path = path
        self.line = line
        self.lines: dict[str, int] = {}

    def put(self, key: str, value: Any, line: int) -> None:
        self[key] = value
        self.lines[key] = line

    def rename(self, old: str, new: str) -> None:
        """Move a member to another key; the line stays."""
        self.put(new, self.pop(old), self.lines.get(old, self.line))


class YamlList(list[Any]):
    """A sequence with its place, and the line of each item."""

    def __init__(self, path: Path = (), line: int = 1) -> None:
        super().__init__()
        self.path = path
        self.line = line
        self.lines: list[int] = []

    def put(self, value: Any, line: int) -> None:
        self.append(value)
        self.lines.append(line)


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """A document that is no YAML, or YAML that JSON could not say."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Tree:
    """One document: its first line and its value (YamlMap, YamlList or a scalar), or what is wrong with it."""

    line: int
    value: Any
    problem: SyntaxProblem | None = None


def line_of(root: Any, path: Path) -> int:
    """The line of the deepest part of path that exists."""
    line = getattr(root, "line", 1)
    value = root
    for part in path:
        if isinstance(value, YamlMap) and isinstance(part, str) and part in value:
            line = value.lines.get(part, line)
        elif isinstance(value, YamlList) and isinstance(part, int) and 0 <= part < len(value):
            line = value.lines[part]
        else:
            break
        value = value[part]
    return line


def read_trees(text: str) -> Iterator[Tree]:
    """Every document of a file, in order; empty ones are left out."""
    for first, chunk in pieces(text):
        tree = read_tree(first, chunk)
        if tree is not None:
            yield tree


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """First line and text of each document of a file, empty ones included."""
    start = 1
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if _BOUNDARY.match(line):
            yield start, "".join(lines)
            rest = line[3:]
            start, lines = number, [rest if rest.strip() else "\n"]
        else:
            lines.append(line)
    yield start, "".join(lines)


def read_tree(first: int, chunk: str) -> Tree | None:
    """One document whose text begins in line first; None if it is empty."""
    try:
        _check_depth(first, chunk)
        node = yaml.compose(chunk, Loader=yaml.CSafeLoader)
        if node is None or (node.tag == "tag:yaml.org,2002:null" and not node.value):
            return None
        line = first + node.start_mark.line
        return Tree(line, _Builder(first).build(node, (), 0))
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        if e.problem and "expected ':'" in e.problem:
            mark = e.context_mark or mark  # the parser notices only in the next line
        last = len(chunk.rstrip().splitlines()) - 1
        line = min(mark.line, max(last, 0)) if mark else 0
        text = " ".join(part for part in (e.problem, e.context) if part)
        return Tree(first, None, SyntaxProblem(first + line, f"is not YAML: {text}"))
    except yaml.reader.ReaderError as e:
        line = first + chunk.count("\n", 0, e.position)
        return Tree(first, None, SyntaxProblem(line, f"is not YAML: {e.reason}"))
    except UnicodeEncodeError as e:
        line = first + chunk.count("\n", 0, e.start)
        return Tree(first, None, SyntaxProblem(line, f"is not YAML: {e.reason}"))
    except _NotJsonError as e:
        return Tree(first, None, SyntaxProblem(e.line, str(e)))


def _check_depth(first: int, chunk: str) -> None:
    """Raises _NotJsonError for what could exhaust the composer's stack, before it gets to see it."""
    # Flow levels cost a bracket each; block levels begin in ever higher columns, at most two in one.
    columns = max(map(len, chunk.split("\n")))
    if chunk.count("[") + chunk.count("{") + 2 * columns < _COMPOSER_DEPTH:
        return
    depth = 0
    for event in yaml.parse(chunk, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH + 1:
                raise _NotJsonError(first + (event.start_mark.line if event.start_mark else 0), _TOO_BIG)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _NotJsonError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    """Turns nodes into values; every alias becomes a copy of its own."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._count = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self._count += 1
        if self._count > _MAX_NODES or depth > _MAX_DEPTH:
            raise _NotJsonError(self._line(node), _TOO_BIG)
        if isinstance(node, yaml.MappingNode):
            out = YamlMap(path, self._line(node))
            self._fill(out, node, path, depth)
            return out
        if isinstance(node, yaml.SequenceNode):
            items = YamlList(path, self._line(node))
            for i, child in enumerate(node.value):
                items.put(self.build(child, (*path, i), depth + 1), self._line(child))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _fill(self, out: YamlMap, node: yaml.MappingNode, path: Path, depth: int) -> None:
        own: dict[str, int] = {}  # keys written here, which win over merged ones
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _NotJsonError(self._line(key), "a key must be a word")
            if key.tag == "tag:yaml.org,2002:merge":
                merged = self.build(child, path, depth + 1)
                for part in merged if isinstance(merged, YamlList) else [merged]:
                    if not isinstance(part, YamlMap):
                        raise _NotJsonError(self._line(key), "<< needs a mapping")
                    for name, value in part.items():
                        if name not in out:
                            out.put(name, value, part.lines[name])
                continue
            if key.value in own:
                raise _NotJsonError(
                    self._line(key), f"key {key.value!r} appears twice (first in line {own[key.value]})"
                )
            own[key.value] = self._line(key)
            out.put(key.value, self.build(child, (*path, key.value), depth + 1), self._line(key))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind in ("int", "float") and len(node.value) > _MAX_NUMBER:
            raise _NotJsonError(self._line(node), f"{node.value[:20]!r}... is too long for a number")
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return _CONSTRUCT.construct_yaml_bool(node)
            if kind == "int":
                return _CONSTRUCT.construct_yaml_int(node)
            if kind == "float":
                return _CONSTRUCT.construct_yaml_float(node)
        except (ValueError, KeyError, IndexError, OverflowError) as e:
            raise _NotJsonError(self._line(node), f"{node.value!r} is no {kind}") from e
        return node.value

    def _line(self, node: yaml.Node) -> int:
        return self._first + int(node.start_mark.line)
