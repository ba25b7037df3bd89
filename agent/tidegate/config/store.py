"""Turns readings of the sources into one Mesh.

Invariant: a config is complete and valid; a document with errors keeps its previous version in force and becomes a
Problem. Fed and published by merge.follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from tidegate.config.documents import Document, Key, MeshObject, ParsedFile
from tidegate.config.references import check_references
from tidegate.config.source import Loaded
from tidegate.model.kube import Namespace, Pod, PodTemplate, Service
from tidegate.model.mesh import Mesh, Problem, Severity
from tidegate.model.routing import VirtualService
from tidegate.model.traffic import DestinationRule

T = TypeVar("T", bound=MeshObject)


class Store:
    """Remembers the last good version of every document. No I/O, no clock."""

    def __init__(self) -> None:
        self._good: dict[Key, tuple[str, MeshObject]] = {}  # key -> file, value
        self._config: Mesh | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Findings about what the sources say now."""
        return self._config.problems if self._config else ()

    def merge(self, loaded: Loaded) -> Mesh:
        """The config after this reading of all sources; the same object as before when nothing changed."""
        problems = list(loaded.problems)
        newest = _newest(loaded.files, problems)
        unreadable = {f.path for f in loaded.files if f.unreadable} | {p.file for p in loaded.problems}
        good: dict[Key, tuple[str, MeshObject]] = {}
        for key, (path, document) in newest.items():
            if document.value is not None:
                good[key] = (path, document.value)
            elif document.failed and key in self._good:
                good[key] = self._good[key]
        for key, (path, value) in self._good.items():
            if key not in newest and path in unreadable:
                good[key] = (path, value)
        self._good = good
        for parsed in loaded.files:
            problems.extend(parsed.problems)
        config = _assemble([value for _, value in good.values()], loaded.revision, problems)
        if self._config is not None and config == replace(self._config, generation=0):
            return self._config
        generation = self._config.generation + 1 if self._config else 1
        self._config = replace(config, generation=generation)
        return self._config


def load_once(loaded: Loaded) -> Mesh:
    """The config that a single reading gives, for commands that look once."""
    return Store().merge(loaded)


def _assemble(objects: Iterable[MeshObject], revision: int, problems: Iterable[Problem]) -> Mesh:
    """Sort objects into a Mesh; add what only shows when they are together."""
    ordered = sorted(objects, key=lambda o: (o.origin.namespace, o.origin.name))
    config = Mesh(
        revision=revision,
        namespaces=_only(ordered, Namespace),
        pods=_only(ordered, Pod),
        services=_only(ordered, Service),
        virtual_services=_only(ordered, VirtualService),
        destination_rules=_only(ordered, DestinationRule),
        templates=_only(ordered, PodTemplate),
    )
    return replace(config, problems=tuple(sorted({*problems, *check_references(config)})))


def _only(objects: Iterable[MeshObject], kind: type[T]) -> tuple[T, ...]:
    return tuple(o for o in objects if isinstance(o, kind))


def _newest(files: Iterable[ParsedFile], problems: list[Problem]) -> dict[Key, tuple[str, Document]]:
    """Which document speaks for an object: the last one, as `kubectl apply` of the files in order would leave it."""
    newest: dict[Key, tuple[str, Document]] = {}
    for parsed in files:
        for document in parsed.documents:
            if document.key in newest:
                path, other = newest[document.key]
                text = f"also defined at {path}:{other.line}; the definition here is used"
                problems.append(Problem(parsed.path, document.line, Severity.WARNING.value, *document.key, "", text))
            newest[document.key] = (parsed.path, document)
    return newest
