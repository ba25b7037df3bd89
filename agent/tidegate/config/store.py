"""Merges the readings of all sources into one MeshConfig.

Invariant: a published config is complete and valid; a document with errors keeps its previous version in force and
becomes a Problem; nothing is published before every source delivered once. Read by the agent's cycle through `config`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from tidegate.config.documents import Document, Key, MeshObject, ParsedFile
from tidegate.config.references import check_references
from tidegate.config.source import Loaded, Source
from tidegate.model.kube import Namespace, Pod, PodTemplate, Service
from tidegate.model.mesh import MeshConfig, Problem, Severity
from tidegate.model.routing import VirtualService
from tidegate.model.traffic import DestinationRule
from tidegate.runtime.latest import Latest

T = TypeVar("T", bound=MeshObject)


class Merger:
    """Remembers the last good version of every document. No I/O, no clock."""

    def __init__(self) -> None:
        self._good: dict[Key, tuple[str, MeshObject]] = {}  # key -> file, value
        self._config: MeshConfig | None = None

    def merge(self, readings: Iterable[Loaded]) -> MeshConfig:
        """The config after these readings, one of each source; the same object as before when nothing changed."""
        readings = list(readings)
        files = [f for loaded in readings for f in loaded.files]
        problems = [p for loaded in readings for p in loaded.problems]
        unreadable = {f.path for f in files if f.unreadable} | {p.file for p in problems}
        newest = _newest(files, problems)
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
        for parsed in files:
            problems.extend(parsed.problems)
        revision = max((loaded.revision for loaded in readings), default=0)
        config = _assemble([value for _, value in good.values()], revision, problems)
        if self._config is not None and config == replace(self._config, generation=0):
            return self._config
        generation = self._config.generation + 1 if self._config else 1
        self._config = replace(config, generation=generation)
        return self._config


class Store:
    """Follows sources. Use from one event loop."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.config: Latest[MeshConfig | None] = Latest(None)
        self._sources = sources
        self._merger = Merger()
        self._readings: dict[int, Loaded] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Findings about what the sources say now."""
        return self.config.value.problems if self.config.value else ()

    async def run(self) -> None:
        """Until cancelled; raises what a source raises."""
        async with asyncio.TaskGroup() as group:
            for number, source in enumerate(self._sources):
                group.create_task(self._follow(number, source), name=f"config source {number}")

    async def _follow(self, number: int, source: Source) -> None:
        async for loaded in source.watch():
            self._readings[number] = loaded
            if len(self._readings) == len(self._sources):
                config = self._merger.merge(reading for _, reading in sorted(self._readings.items()))
                if config is not self.config.value:
                    await self.config.set(config)


def load_once(*readings: Loaded) -> MeshConfig:
    """The config that single readings give, for commands that look once."""
    return Merger().merge(readings)


def _assemble(objects: Iterable[MeshObject], revision: int, problems: Iterable[Problem]) -> MeshConfig:
    """Sort objects into a MeshConfig; add what only shows when they are together."""
    ordered = sorted(objects, key=lambda o: (o.origin.namespace, o.origin.name))
    config = MeshConfig(
        revision=revision,
        namespaces={n.name: n for n in _only(ordered, Namespace)},
        pods={p.id: p for p in _only(ordered, Pod)},
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
