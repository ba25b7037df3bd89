"""Kubernetes YAML as documents that remember their file, their line and the lines that they cover.

Fed with files of `lab apply`; read by lab.cluster (what should run) and lab.clusterdir (what the agents read).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tidegate.config.sources.content import read_text
from tidegate.config.tree import line_of_error
from tidegate.errors import Rejected
from tidegate.model.names import ObjectKey

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

SUFFIXES = (".yaml", ".yml", ".json")
CLUSTER_SCOPED = frozenset({"Namespace", "Node"})


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One version of one file."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """One object of one source. Lines are 1-based; the document covers first_line..last_line."""

    key: ObjectKey
    body: dict[str, Any]
    source: ManifestFile
    line: int  # where the object begins
    first_line: int
    last_line: int
    node: yaml.Node = field(repr=False)
    item: bool = False  # a member of a List: it shares its document, and maybe its lines, with others

    def line_of(self, location: Sequence[str | int]) -> int:
        """Line of the value at that path inside the body, or of the nearest parent that exists."""
        node = self.node
        for step in location:
            child = _child(node, step)
            if child is None:
                break
            node = child
        return int(node.start_mark.line) + 1

    def cut(self) -> str:
        """The object alone, every line and column where it was, so that it is YAML also without its List."""
        start, end = self.node.start_mark, self.node.end_mark
        return "\n" * start.line + " " * start.column + self.source.text[start.index : end.index].rstrip() + "\n"

    def rejected(self, reason: str, location: Sequence[str | int] = (), remedy: str = "") -> Rejected:
        """An error about this document that names file and line."""
        where = ".".join(str(step) for step in location)
        subject = f"{self.source.path}:{self.line_of(location)}: {self.key}{' ' + where if where else ''}"
        return Rejected(subject, reason, remedy)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The manifest files that the arguments of -f name; a directory stands for its files, sorted. Raises Rejected."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
            if not found:
                raise Rejected(str(path), "holds no manifest", f"files must end in {', '.join(SUFFIXES)}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise Rejected(str(path), "no such file or directory")
    return [file.resolve() for file in files]


def read(path: Path) -> list[Manifest]:
    """Documents of one file, empty ones left out. Raises Rejected with file and line."""
    try:
        text = read_text(str(path))
    except (OSError, ValueError) as error:
        raise Rejected(str(path), f"cannot be read: {error}") from None
    return parse(ManifestFile(path, text))


def parse(source: ManifestFile) -> list[Manifest]:
    """Documents of one source. Raises Rejected with file and line."""
    starts = _starts(source.text)
    documents: list[Manifest] = []
    try:
        for node, value in _load(source.text):
            if isinstance(value, dict) and value.get("kind") == "List":
                documents += _items(source, starts, node, value)
            elif value is not None:
                documents.append(_document(source, starts, node, value))
    except yaml.MarkedYAMLError as error:
        where = f"{source.path}:{line_of_error(error, source.text)}"
        raise Rejected(where, f"is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise Rejected(f"{source.path}:1", f"is not YAML: {error}") from None
    return documents


def _load(text: str) -> Iterator[tuple[yaml.Node, Any]]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node: yaml.Node = loader.get_node()  # type: ignore[assignment]  # check_node() said there is one
            yield node, loader.construct_document(node)
    finally:
        loader.dispose()


def _starts(text: str) -> list[int]:
    """First lines (1-based) of the documents, and one line past the end. In YAML a line ``---`` always separates."""
    lines = text.splitlines()
    markers = [n for n, line in enumerate(lines, 1) if line == "---" or line.startswith(("--- ", "---\t"))]
    return [1, *markers, len(lines) + 1]


def _items(source: ManifestFile, starts: list[int], node: yaml.Node, value: dict[str, Any]) -> Iterator[Manifest]:
    items, members = _child(node, "items"), value.get("items")
    if items is None or not isinstance(members, list):
        raise Rejected(f"{source.path}:{node.start_mark.line + 1}", "List has no items")
    for index, member in enumerate(members):
        yield _document(source, starts, _child(items, index) or items, member, item=True)


def _document(source: ManifestFile, starts: list[int], node: yaml.Node, value: Any, item: bool = False) -> Manifest:
    line = node.start_mark.line + 1
    at = f"{source.path}:{line}"
    if not isinstance(value, dict):
        raise Rejected(at, "is not a Kubernetes object", "it needs apiVersion, kind and metadata.name")
    version, kind, metadata = value.get("apiVersion"), value.get("kind"), value.get("metadata")
    if not isinstance(version, str) or not isinstance(kind, str):
        raise Rejected(at, "has no apiVersion and kind")
    if kind.endswith("List"):
        raise Rejected(at, f"{kind} is not supported here", "write kind: List, or its items as documents")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise Rejected(at, f"{kind} has no metadata.name")
    namespace = "" if kind in CLUSTER_SCOPED else str(metadata.get("namespace") or "default")
    first = max(start for start in starts if start <= line)
    last = min(start for start in starts if start > line) - 1
    group = version.rpartition("/")[0]
    return Manifest(ObjectKey(group, kind, namespace, name), value, source, line, first, last, node, item)


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None
