"""Keeps every object that the sources told, and publishes the valid ones as a Mesh.

Invariant: a Mesh is complete and valid; an object whose newest document has errors keeps its previous version in force
and becomes a Problem. What a change costs follows from the change: no walk over all objects, but for the tuple of the
kind that changed. Fed and published by follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tidegate.config.documents import Document, problem_of
from tidegate.config.kinds import KINDS, Kind
from tidegate.config.kinds.virtual_service import VIRTUAL_SERVICE
from tidegate.config.links import Links
from tidegate.config.sources.base import Change, Delete, Findings, InSync, Upsert
from tidegate.model.envoy_filter import EnvoyFilter, Patch
from tidegate.model.mesh import Mesh, MeshObject, Problem
from tidegate.model.names import ObjectKey
from tidegate.model.routing import VirtualService
from tidegate.model.verdict import Verdict


@dataclass(slots=True)
class Held:
    """What is known of one object."""

    current: Document | None = None  # as told now
    last_good: Document | None = None  # newest one without errors
    linked: tuple[Problem, ...] = ()  # what only shows beside other objects
    accepted: bool = False  # Envoy took what is in force
    before: Document | None = None  # what was in force before and was not refused, until Envoy took what came after
    refused: Document | None = None  # the newest one, if Envoy refused it

    @property
    def value(self) -> MeshObject | None:
        """What is in force."""
        return self.last_good.value if self.last_good is not None else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        return (*self.current.problems, *self.linked) if self.current is not None else self.linked


@dataclass(slots=True)
class _Shelf:
    """The objects of one kind, in order of namespace and name."""

    values: dict[ObjectKey, MeshObject] = field(default_factory=dict)
    ordered: tuple[MeshObject, ...] = ()
    changed: bool = False

    def put(self, key: ObjectKey, value: MeshObject | None) -> None:
        self.changed = True
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def sorted(self) -> tuple[MeshObject, ...]:
        if self.changed:
            self.ordered = tuple(self.values[key] for key in sorted(self.values))
            self.changed = False
        return self.ordered


class Store:
    """The last good version of every object. No I/O, no clock; use from one thread at a time."""

    def __init__(self, sources: int = 1) -> None:
        self._told: tuple[dict[ObjectKey, Document], ...] = tuple({} for _ in range(sources))
        self._parts: tuple[dict[str, Findings], ...] = tuple({} for _ in range(sources))  # broken ones
        self._revisions: dict[int, int] = {}  # of the sources that are in sync
        self._held: dict[ObjectKey, Held] = {}
        self._broken: dict[ObjectKey, Document] = {}  # what serves in place of something unusable
        self._shelves = {kind.shelf: _Shelf() for kind in KINDS.values() if kind.shelf}
        self._links = Links()
        self._problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        self._changed: set[ObjectKey] = set()
        self._problems_changed = True
        self._refused: dict[ObjectKey, VirtualService] = {}
        self._refused_changed = False
        self._refused_patches: list[Patch] = []
        self._mesh: Mesh | None = None

    @property
    def mesh(self) -> Mesh | None:
        """As published last; None before every source is in sync."""
        return self._mesh

    @property
    def broken(self) -> Mapping[ObjectKey, Document]:
        """Last good documents that serve in place of a newer one with errors, or of one that cannot be read."""
        return self._broken

    def seed(self, documents: Iterable[Document]) -> None:
        """What an earlier process served in place of broken documents. Call before anything is told."""
        for document in documents:
            if not document.failed:
                self._broken[document.key] = document
                self._held[document.key] = Held(last_good=document)
                self._force(document.key, None)

    def apply(self, source: int, changes: Sequence[Change]) -> Mesh:
        """Take what a source tells. Returns the Mesh, the same object as before when nothing changed.

        Before every source is in sync nothing is published and the Mesh is empty, of generation 0.
        """
        dirty: set[ObjectKey] = set()
        for change in changes:
            match change:
                case Upsert(document):
                    self._told[source][document.key] = document
                    dirty.add(document.key)
                case Delete(key):
                    self._told[source].pop(key, None)
                    dirty.add(key)
                case Findings():
                    self._problems_changed = True
                    self._parts[source].pop(change.part, None)
                    if change.problems or change.incomplete:
                        self._parts[source][change.part] = change
                case InSync(revision):
                    self._revisions[source] = revision
        if len(self._revisions) == len(self._told):
            # Absence means something now, except in files that cannot be read as a whole.
            dirty |= {key for key in self._broken if self._held[key].current is None}
        incomplete = {part.file for parts in self._parts for part in parts.values() if part.incomplete}
        to_check: set[ObjectKey] = set()
        for key in dirty:
            to_check |= self._update(key, incomplete)
        for key in to_check:
            self._check(key)
        return self._publish()

    def judge(self, verdicts: Iterable[Verdict]) -> Mesh:
        """Take what Envoy says of rules. A refused one is no longer in force: what was before it is, if there was
        anything. Returns the Mesh, as apply() does."""
        to_check: set[ObjectKey] = set()
        for verdict in verdicts:
            rule = verdict.rule
            if isinstance(rule, VirtualService):
                to_check |= self._judge(VIRTUAL_SERVICE.key(rule.namespace, rule.name), rule, bool(verdict.refused))
            elif isinstance(rule, Patch):
                self._judge_patch(rule, bool(verdict.refused))
        for key in to_check:
            self._check(key)
        return self._publish()

    def _judge(self, key: ObjectKey, rule: VirtualService, refused: bool) -> set[ObjectKey]:
        held = self._held.get(key)
        if held is None:
            return set()
        before = held.value
        if before is rule and refused:
            assert held.last_good is not None
            held.refused, held.last_good, held.before, held.accepted = held.last_good, held.before, None, False
            self._note_refused(key, rule)
            if held.last_good is not None:
                self._broken[key] = held.last_good
        elif before is rule:
            held.accepted, held.before = True, None
        elif held.refused is not None and held.refused.value is rule and not refused:
            held.last_good, held.refused, held.accepted = held.refused, None, True
            self._note_refused(key, None)
            self._broken.pop(key, None)
        return self._force(key, before)

    def _judge_patch(self, patch: Patch, refused: bool) -> None:
        """A refused patch is left out; the others of its EnvoyFilter stay in force."""
        if refused and patch not in self._refused_patches:
            self._refused_patches.append(patch)
        elif not refused and patch in self._refused_patches:
            self._refused_patches.remove(patch)

    def _patches_left_out(self, filters: Iterable[EnvoyFilter], before: tuple[Patch, ...]) -> tuple[Patch, ...]:
        """Refused patches, as far as there are still EnvoyFilters that have them."""
        if self._refused_patches:
            there = [patch for one in filters for patch in one.patches]
            self._refused_patches = [patch for patch in self._refused_patches if patch in there]
        found = tuple(sorted(self._refused_patches, key=lambda patch: (patch.origin, patch.index)))
        return before if found == before else found

    def _note_refused(self, key: ObjectKey, rule: VirtualService | None) -> None:
        if self._refused.get(key) is not rule:
            self._refused_changed = True
            if rule is None:
                del self._refused[key]
            else:
                self._refused[key] = rule

    def _update(self, key: ObjectKey, incomplete: set[str]) -> set[ObjectKey]:
        """Decide what is in force for an object. Returns which objects have to be checked again."""
        document = self._speaker(key)
        held = self._held.get(key)
        if held is None:
            if document is None:
                return set()
            held = self._held[key] = Held()
        before = held.value
        held.current = document
        if document is not None and held.refused is not None and document.value == held.refused.value:
            held.current = held.refused = replace(document, value=held.refused.value)
            self._note_problems(key, held.problems)
            return set()
        held.refused = None
        self._note_refused(key, None)
        if document is not None and not document.failed:
            if before is not None and document.value == before:
                held.current = document = replace(document, value=before)
            elif isinstance(document.value, VirtualService):
                if held.accepted or held.before is None:
                    held.before = held.last_good
                held.accepted = False
            held.last_good = document
            self._broken.pop(key, None)
        elif held.value is None or (document is None and not self._lingers(held, incomplete)):
            held.last_good = None
            self._broken.pop(key, None)
        else:
            assert held.last_good is not None
            self._broken[key] = held.last_good
        concerned = self._force(key, before)
        if document is None and held.last_good is None:
            del self._held[key]
            held.linked = ()
        self._note_problems(key, held.problems)
        return concerned

    def _lingers(self, held: Held, incomplete: set[str]) -> bool:
        """Whether an object that is not told may be one that only cannot be read."""
        assert held.last_good is not None
        return held.last_good.file in incomplete or len(self._revisions) < len(self._told)

    def _force(self, key: ObjectKey, before: MeshObject | None) -> set[ObjectKey]:
        """Put what is in force for the object where the Mesh and its links come from."""
        after = self._held[key].value
        if after is before:
            return set()
        self._changed.add(key)
        kind = _kind(key)
        self._shelves[kind.shelf].put(key, after)
        old, new = (list(kind.looks_at(value)) if value is not None else [] for value in (before, after))
        concerned = {key} if old or new else set()
        if before is not None:
            self._links.look(key, old, looking=False)
            concerned |= self._links.provide(key, kind.provides(before), None)
        if after is not None:
            self._links.look(key, new, looking=True)
            concerned |= self._links.provide(key, kind.provides(after), after)
        return concerned

    def _check(self, key: ObjectKey) -> None:
        held = self._held.get(key)
        if held is not None:
            held.linked = self._beside_others(key, held.last_good)
            self._note_problems(key, held.problems)

    def _beside_others(self, key: ObjectKey, document: Document | None) -> tuple[Problem, ...]:
        if document is None or document.value is None:
            return ()
        found = _kind(key).check(document.value, self._links)
        return tuple(problem_of(f.said, document.file, f.line, key, f.path) for f in found)

    def _speaker(self, key: ObjectKey) -> Document | None:
        """The newest word on an object: the last source that has it."""
        newest: Document | None = None
        for told in self._told:
            if (document := told.get(key)) is not None:
                newest = document if newest is None else document.in_place_of(newest)
        return newest

    def _note_problems(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        if problems == self._problems.get(key, ()):
            return
        self._problems_changed = True
        if problems:
            self._problems[key] = problems
        else:
            del self._problems[key]

    def _publish(self) -> Mesh:
        if len(self._revisions) < len(self._told):
            return _EMPTY
        before = self._mesh or _EMPTY
        fields: dict[str, Any] = {name: shelf.sorted() for name, shelf in self._shelves.items()}
        if self._problems_changed:
            parts = (part.problems for parts in self._parts for part in parts.values())
            found = tuple(sorted(set(chain.from_iterable((*parts, *self._problems.values())))))
            fields["problems"] = before.problems if found == before.problems else found
            self._problems_changed = False
        revision = max(self._revisions.values(), default=0)
        if self._refused_changed:
            fields["refused"] = tuple(self._refused[key] for key in sorted(self._refused))
            self._refused_changed = False
        fields["refused_patches"] = self._patches_left_out(fields["envoy_filters"], before.refused_patches)
        news = {name: value for name, value in fields.items() if value is not getattr(before, name)}
        if self._mesh is None or news or revision != before.revision:
            self._mesh = replace(
                before, **news, generation=before.generation + 1, revision=revision, changed=frozenset(self._changed)
            )
            self._changed = set()
        assert self._mesh is not None
        return self._mesh


def _kind(key: ObjectKey) -> Kind:
    return KINDS[key.group, key.kind]


_EMPTY = Mesh()


def load_once(told: Sequence[Sequence[Change]]) -> Mesh:
    """The Mesh of what each of several sources says now, for commands that look once."""
    store = Store(len(told))
    mesh = _EMPTY
    for source, changes in enumerate(told):
        mesh = store.apply(source, changes)
    return mesh
