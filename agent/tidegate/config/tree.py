"""YAML text -> plain values that remember where they were written.

A file is cut into documents before parsing, because one document that is no YAML must not hide the others. The C
parser's events carry marks; mappings and lists built from them keep the line of every member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isinf
from typing import Any

import yaml

from tidegate.config import messages as say

Path = tuple[str | int, ...]

# A document boundary is a line that starts with --- or ...; nothing inside a document, block scalars included, can.
_BOUNDARY = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|$)")
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_VERSION = re.compile(r"%YAML[ \t]+1\.\d+([ \t]+#.*)?")
# Aliases are expanded, so a few lines could describe a huge tree.
_MAX_NODES = 500_000
_MAX_DEPTH = 100
_MAX_NUMBER = 400  # characters; longer ones cost quadratic time and do not print
_CONSTRUCT = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"
# What YAML 1.2 and Kubernetes take for numbers and the library does not, and the other way round: 12:30:45 is a text.
_EXPONENT, _OCTAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), re.compile(r"[-+]?0o[0-7]+")
_NUMERIC = frozenset("+-.0123456789")
_WHOLE = 2**53  # up to here a float is the whole number that was written
# First character of a plain scalar -> what it may be besides a text.
_RESOLVERS = {
    first: [(tag.removeprefix(_TAG), expression) for tag, expression in found]
    for first, found in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
}


class WholeNumber(int):
    """50.0, 5e1: one of JSON's numbers, which is whole, so it may stand where a whole one is wanted. In messages it is
    what was written."""

    written: str

    def __new__(cls, number: float, written: str) -> WholeNumber:
        made = super().__new__(cls, number)
        made.written = written
        return made

    def __str__(self) -> str:
        return self.written


def format_path(path: Path) -> str:
    """``spec.http[0].match``; a key that is empty is told as ``""``."""
    out = ""
    for part in path:
        word = part or '""'
        out += f"[{part}]" if isinstance(part, int) else f".{word}" if out else str(word)
    return out


class YamlMap(dict[str, Any]):
    """A mapping with its place, and the line of each key."""

    literal: frozenset[str] = frozenset()  # keys of texts that stand line by line below theirs, after "|"

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
    said: say.Said


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
    """First line and text of each document of a file, empty ones included.

    Directives (%YAML, %TAG) stand before the --- of their document and belong to it. A byte order mark may stand
    wherever a document begins, since files are often put behind each other.
    """
    start = 1
    lines: list[str] = []
    blank, directives = True, False  # lines hold nothing yet; they hold directives
    for number, written in enumerate(text.splitlines(keepends=True), 1):
        line = written.removeprefix("\ufeff")
        if _BOUNDARY.match(line):
            rest = line[3:] if line[3:].strip() else "\n"
            if blank and directives and line[0] == "-":
                lines.append(line if any(told.startswith("%") for told in lines) else rest)
            else:
                yield start, "".join(lines)
                start, lines = number, [rest]
            blank, directives = not rest.strip(), False
        elif blank and line.startswith("%"):
            directives = True
            # Every version of YAML 1 is read as the one that there is.
            lines.append("\n" if _VERSION.fullmatch(line.rstrip()) else line)
        else:
            blank = blank and line.strip()[:1] in ("", "#")
            lines.append(line)
    yield start, "".join(lines)


def line_of_error(error: yaml.MarkedYAMLError, text: str) -> int:
    """The line of a text, from 1, in which somebody has to look for what a parser of YAML complains about."""
    mark = error.problem_mark or error.context_mark
    if error.problem and "expected ':'" in error.problem:
        mark = error.context_mark or mark  # the parser notices only in the next line
    last = len(text.rstrip().splitlines()) - 1
    return 1 + (min(mark.line, max(last, 0)) if mark else 0)


def read_tree(first: int, chunk: str) -> Tree | None:
    """One document whose text begins in line first; None if it is empty."""
    if chunk.lstrip()[:1] in ("{", "["):  # JSON writes a character beyond 16 bits as two, which no YAML knows
        chunk = _PAIR.sub(_one_character, chunk)
    try:
        return _Builder(first, yaml.CSafeLoader(chunk)).document()
    except yaml.MarkedYAMLError as e:
        text = " ".join(part for part in (e.problem, e.context) if part)
        return Tree(first, None, SyntaxProblem(first + line_of_error(e, chunk) - 1, say.NOT_YAML(detail=text)))
    except yaml.reader.ReaderError as e:
        line = first + chunk.count("\n", 0, e.position)
        return Tree(first, None, SyntaxProblem(line, say.NOT_YAML(detail=e.reason)))
    except UnicodeEncodeError as e:
        line = first + chunk.count("\n", 0, e.start)
        return Tree(first, None, SyntaxProblem(line, say.NOT_YAML(detail=e.reason)))
    except _NotJsonError as e:
        return Tree(first, None, SyntaxProblem(e.line, e.said))


def _one_character(found: re.Match[str]) -> str:
    code = 0x10000 + ((int(found[2], 16) - 0xD800) << 10) + (int(found[3], 16) - 0xDC00)
    return f"{found[1]}\\U{code:08X}"


class _NotJsonError(Exception):
    def __init__(self, line: int, said: say.Said) -> None:
        super().__init__(said.text)
        self.line = line
        self.said = said


_OPEN = object()  # an anchor whose value is not complete


class _Builder:
    """Turns the parser's events into values; every alias becomes a copy of its own.

    Recursion is bounded by _MAX_DEPTH here and does not happen in the parser.
    """

    def __init__(self, first: int, parser: yaml.CSafeLoader) -> None:
        self._first = first
        self._next: Callable[[], Any] = parser.get_event
        self._count = 0
        self._anchors: dict[str, Any] = {}  # anchor -> value, of a scalar its event

    def document(self) -> Tree | None:
        """The only document of the text."""
        self._next()  # stream start
        if type(self._next()) is not yaml.DocumentStartEvent:
            return None
        event = self._next()
        line = self._line(event)
        value = self._value(event, (), 0)
        self._next()  # document end
        if type(more := self._next()) is yaml.DocumentStartEvent:
            raise _NotJsonError(self._line(more), say.NOT_YAML(detail="a second document begins without ---"))
        if value is None and not getattr(event, "value", True):
            return None
        return Tree(line, value)

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        self._count += 1
        if self._count > _MAX_NODES or depth > _MAX_DEPTH:
            raise _NotJsonError(self._line(event), say.TOO_LARGE())
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if event.anchor is not None:
                self._anchors[event.anchor] = event
            return self._scalar(event)
        if kind is yaml.AliasEvent:
            return self._copy(self._named(event), path, depth, self._line(event))
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = _OPEN
        made = self._mapping(event, path, depth) if kind is yaml.MappingStartEvent else self._list(event, path, depth)
        if anchor is not None:
            self._anchors[anchor] = made
        return made

    def _list(self, event: Any, path: Path, depth: int) -> YamlList:
        items = YamlList(path, self._line(event))
        while type(child := self._next()) is not yaml.SequenceEndEvent:
            value = self._value(child, (*path, len(items)), depth + 1)
            items.put(value, self._line_of(value, child))
        return items

    def _mapping(self, event: Any, path: Path, depth: int) -> YamlMap:
        out = YamlMap(path, self._line(event))
        lines = out.lines
        own: set[str] = set()  # keys written here, which win over merged ones
        while type(key := self._next()) is not yaml.MappingEndEvent:
            line = self._line(key)
            if type(key) is yaml.AliasEvent:
                key = self._named(key)
            if type(key) is not yaml.ScalarEvent:
                raise _NotJsonError(line, say.KEY_NO_WORD())
            if key.anchor is not None:
                self._anchors[key.anchor] = key
            name = key.value
            if name[:1] == "<" and _kind(key) == "merge":
                self._merge(out, self._value(self._next(), path, depth + 1), line)
                continue
            if name in own:
                raise _NotJsonError(line, say.KEY_TWICE(key=name, line=lines[name]))
            own.add(name)
            lines[name] = line  # before the value is read: aliases in it cannot change it
            child = self._next()
            if type(child) is yaml.ScalarEvent and child.anchor is None:  # nearly all are, and need no path
                self._count += 1
                out[name] = self._scalar(child)
                if child.style == "|":
                    out.literal |= {name}
            else:
                out[name] = self._value(child, (*path, name), depth + 1)
        return out

    def _merge(self, out: YamlMap, merged: Any, line: int) -> None:
        for part in merged if isinstance(merged, YamlList) else [merged]:
            if not isinstance(part, YamlMap):
                raise _NotJsonError(line, say.MERGE())
            for name, value in part.items():
                if name not in out:
                    out.put(name, value, part.lines[name])

    def _named(self, alias: Any) -> Any:
        if alias.anchor not in self._anchors:
            raise _NotJsonError(self._line(alias), say.NOT_YAML(detail=f"found undefined alias {alias.anchor!r}"))
        return self._anchors[alias.anchor]

    def _copy(self, value: Any, path: Path, depth: int, line: int) -> Any:
        """What an alias stands for, as if it were written at path."""
        self._count += 1
        if value is _OPEN or self._count > _MAX_NODES or depth > _MAX_DEPTH:
            raise _NotJsonError(line, say.TOO_LARGE())
        if isinstance(value, YamlMap):
            mapping = YamlMap(path, value.line)
            for name, child in value.items():
                mapping.put(name, self._copy(child, (*path, name), depth + 1, line), value.lines[name])
            return mapping
        if isinstance(value, YamlList):
            items = YamlList(path, value.line)
            for i, child in enumerate(value):
                items.put(self._copy(child, (*path, i), depth + 1, line), value.lines[i])
            return items
        return self._scalar(value) if type(value) is yaml.ScalarEvent else value

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.tag is None:
            if not event.implicit[0] or text[:1] not in _RESOLVERS:
                return text
            if text.isdecimal() and text[0] != "0" and text.isascii() and len(text) < _MAX_NUMBER:
                return int(text)
        kind = _kind(event)
        if kind == "str":
            return text
        if kind in ("int", "float") and len(text) > _MAX_NUMBER:
            raise _NotJsonError(self._line(event), say.LONG_NUMBER(given=text[:20]))
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return _CONSTRUCT.construct_yaml_bool(yaml.ScalarNode(_TAG + kind, text))
            if kind == "int":
                octal = _OCTAL.fullmatch(text)
                return int(text, 0) if octal else _CONSTRUCT.construct_yaml_int(yaml.ScalarNode(_TAG + kind, text))
            if kind == "float":
                return self._float(text)
        except (ValueError, KeyError, IndexError, OverflowError) as e:
            raise _NotJsonError(self._line(event), say.NO_NUMBER(given=text, kind=kind)) from e
        return text

    def _float(self, text: str) -> int | float | str:
        if _EXPONENT.fullmatch(text):
            number = float(text)
            if isinf(number):
                return text  # 12e4567, a part of a hash: no number to Kubernetes either
        else:
            number = _CONSTRUCT.construct_yaml_float(yaml.ScalarNode(_TAG + "float", text))
        return WholeNumber(number, text) if number.is_integer() and abs(number) < _WHOLE else number

    def _line(self, event: Any) -> int:
        return self._first + int(event.start_mark.line)

    def _line_of(self, value: Any, event: Any) -> int:
        """Where an item was written: of an alias, where its anchor is."""
        return int(value.line) if isinstance(value, YamlMap | YamlList) else self._line(event)


def _kind(event: Any) -> str:
    """int, float, bool, null, merge, ...; str for everything that is a text."""
    tag = event.tag
    if tag is not None and tag != "!":
        return str(tag.removeprefix(_TAG))
    if event.implicit[0]:
        text = event.value
        for kind, expression in _RESOLVERS.get(text[:1], ()):
            if expression.match(text):
                return str(kind) if ":" not in text or kind not in ("int", "float") else "str"
        if text[:1] in _NUMERIC and (_EXPONENT.fullmatch(text) or _OCTAL.fullmatch(text)):
            return "int" if "o" in text else "float"
    return "str"
