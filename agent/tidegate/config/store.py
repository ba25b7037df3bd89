"""Merges parsed files into one MeshConfig.

Invariant: a published config is complete and valid; a document with errors keeps its previous version in force and
becomes a Problem. Fed by files.FileSource; read by the agent's compile loop through `latest`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate.config.documents import Document, Key, MeshObject, ParsedFile
from tidegate.config.references import check_references
from tidegate.model.kube import Namespace, Pod, PodTemplate, Service
from tidegate.model.mesh import MeshConfig, Problem, Severity
from tidegate.model.routing import VirtualService
from tidegate.model.traffic import DestinationRule
from tidegate.runtime.latest import Latest


@dataclass(frozen=True, slots=True)
class Loaded:
    """One complete reading of a source."""

    files: tuple[ParsedFile, ...] = ()
    revision: int = 0
    problems: tuple[Problem, ...] = ()  # of the source itself, for example a file that cannot be read


class Store:
    """Holds the last good version of every document. Use from one event loop."""

    def __init__(self) -> None:
        self.latest: Latest[MeshConfig] = Latest(MeshConfig())
        self._good: dict[Key, tuple[str, MeshObject]] = {}  # key -> file, value
        self._generation = 0

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.latest.value.problems

    async def apply(self, loaded: Loaded) -> MeshConfig:
        """Take a reading in and publish the result if it differs from what is published."""
        config = self.merge(loaded)
        if config is not self.latest.value:
            await self.latest.set(config)
        return config

    def merge(self, loaded: Loaded) -> MeshConfig:
        """The config after this reading; the published one when nothing changed."""
        problems = [*loaded.problems]
        newest = _newest(loaded.files, problems)
        good: dict[Key, tuple[str, MeshObject]] = {}
        unreadable = {f.path for f in loaded.files if f.unreadable} | {p.file for p in loaded.problems}
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
        config = assemble((value for _, value in good.values()), loaded.revision, problems)
        current = self.latest.value
        if config == replace(current, generation=0) and self._generation:
            return current
        self._generation += 1
        return replace(config, generation=self._generation)


def load_once(loaded: Loaded) -> MeshConfig:
    """The config that a single reading gives, for commands that look once."""
    return Store().merge(loaded)


def assemble(objects: Iterable[MeshObject], revision: int, problems: Iterable[Problem]) -> MeshConfig:
    """Sort objects into a MeshConfig; add what only shows when they are together."""
    kinds: dict[type, list[MeshObject]] = {}
    for value in objects:
        kinds.setdefault(type(value), []).append(value)

    config = MeshConfig(
        revision=revision,
        namespaces=_sorted(kinds, Namespace),
        pods=_sorted(kinds, Pod),
        services=_sorted(kinds, Service),
        virtual_services=_sorted(kinds, VirtualService),
        destination_rules=_sorted(kinds, DestinationRule),
        templates=_sorted(kinds, PodTemplate),
    )
    return replace(config, problems=tuple(sorted({*problems, *check_references(config)})))


def _sorted(kinds: dict[type, list[MeshObject]], kind: type) -> tuple:  # type: ignore[type-arg]
    found = kinds.get(kind, [])
    return tuple(sorted(found, key=lambda o: (o.origin.namespace, o.origin.name)))


def _newest(files: Iterable[ParsedFile], problems: list[Problem]) -> dict[Key, tuple[str, Document]]:
    """Which document speaks for an object: the last one, as `kubectl apply` of the files in order would leave it."""
    newest: dict[Key, tuple[str, Document]] = {}
    for parsed in sorted(files, key=lambda f: f.path):
        for document in parsed.documents:
            if document.key in newest:
                path, other = newest[document.key]
                text = f"also defined at {path}:{other.line}; the definition here is used"
                problems.append(Problem(parsed.path, document.line, Severity.WARNING.value, *document.key, "", text))
            newest[document.key] = (parsed.path, document)
    return newest
