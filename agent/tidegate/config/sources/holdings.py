"""Which part of a source holds which objects: turns "this file now says that" into changes of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidegate.config import messages as say
from tidegate.config.documents import Document, ParsedFile, problem_of
from tidegate.config.sources.base import Change, Delete, Findings, InSync, Upsert
from tidegate.model.names import ObjectKey


@dataclass(frozen=True, slots=True)
class _Part:
    content: ParsedFile
    objects: dict[ObjectKey, Document]
    unread: say.Said | None


@dataclass(slots=True)
class Holdings:
    """What each file says, and what of it was told. Costs follow what changes. No I/O."""

    _parts: dict[str, _Part] = field(default_factory=dict)
    _holders: dict[ObjectKey, tuple[str, ...]] = field(default_factory=dict)  # who defines it; the last one speaks
    _findings: dict[str, Findings] = field(default_factory=dict)  # told, of parts with which something is wrong
    _revision: int | None = None  # told
    _new_parts: set[str] = field(default_factory=set)
    _new_keys: set[ObjectKey] = field(default_factory=set)

    @property
    def names(self) -> frozenset[str]:
        """Every part that there is."""
        return frozenset(self._parts)

    def content(self, name: str) -> ParsedFile | None:
        """What a part said at last."""
        part = self._parts.get(name)
        return part.content if part else None

    def put(self, name: str, content: ParsedFile, unread: say.Said | None = None) -> None:
        """A part says this now. unread: why nothing of it could be read."""
        objects = content.objects()
        if (old := self._parts.get(name)) is not None:
            # Equal documents stay the same ones.
            objects = {key: d if (o := old.objects.get(key)) != d else o for key, d in objects.items()}
        self._replace(name, _Part(content, objects, unread))

    def drop(self, name: str) -> None:
        """A part is gone."""
        self._replace(name, None)

    def tell(self, revision: int) -> Sequence[Change]:
        """What changed since this was called last; empty if nothing did."""
        told: list[Change] = [news for name in sorted(self._new_parts) if (news := self._news(name)) is not None]
        told += (self._speaker(key) for key in self._new_keys)
        self._new_parts, self._new_keys = set(), set()
        if not told and revision == self._revision:
            return ()
        self._revision = revision
        return (*told, InSync(revision))

    def _replace(self, name: str, new: _Part | None) -> None:
        old = self._parts.pop(name, None)
        if new is not None:
            self._parts[name] = new
        self._new_parts.add(name)
        before, after = old.objects if old else {}, new.objects if new else {}
        for key in before.keys() - after.keys():
            self._new_keys.add(key)
            rest = tuple(holder for holder in self._holders.pop(key) if holder != name)
            if rest:
                self._holders[key] = rest
        for key, document in after.items():
            if key not in before:
                self._holders[key] = tuple(sorted((*self._holders.get(key, ()), name)))
            if before.get(key) is not document:
                self._new_keys.add(key)

    def _news(self, name: str) -> Findings | None:
        """What there is to say of a part itself; None if it was said already."""
        part = self._parts.get(name)
        found = _findings(name, part) if part else Findings(name, "")
        if not found.problems:
            return found if self._findings.pop(name, None) else None
        if self._findings.get(name) == found:
            return None
        self._findings[name] = found
        return found

    def _speaker(self, key: ObjectKey) -> Change:
        """The newest word on an object: of its definitions the last one, as `kubectl apply` would leave it."""
        newest: Document | None = None
        for name in self._holders.get(key, ()):
            document = self._parts[name].objects[key]
            newest = document if newest is None else document.in_place_of(newest)
        return Delete(key) if newest is None else Upsert(newest)


def _findings(name: str, part: _Part) -> Findings:
    shown = part.content.path
    if part.unread is not None:
        return Findings(name, shown, (problem_of(part.unread, shown, 1),), True)
    return Findings(name, shown, part.content.nameless, part.content.unreadable)
