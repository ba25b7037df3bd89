"""What is known of one resource, from the server or from the disk, and what of it is news. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from tidegate.config import messages as say
from tidegate.config.documents import Document, problem_of
from tidegate.config.sources.base import Findings
from tidegate.config.sources.kube.decode import Told
from tidegate.config.sources.kube.follower import REFUSED, WatchState
from tidegate.config.sources.kube.resources import Resource
from tidegate.model.mesh import NO_OBJECT
from tidegate.model.names import ObjectKey

REFUSALS: Final = 3  # in a row: the server is there and does not want to


class Standing(Protocol):
    """How a follower stands."""

    state: WatchState
    reason: str
    refusals: int
    left_at: float


class ObjectSet:
    """Objects of one resource. Use from one event loop."""

    def __init__(self, resource: Resource, news: Callable[[], None], *, writing: bool = True) -> None:
        """news: called when there is something to take(). writing: somebody writes down what is known."""
        self.resource = resource
        self._writing = writing
        self.documents: dict[ObjectKey, Document] = {}
        self.fresh = False  # the server told all of it, to this process
        self.saved_at: float | None = None  # what there is is of the disk, of that time
        self.standing: Standing | None = None
        self.kept: dict[ObjectKey, bytes] | None = None  # all of it, to be written down; None: changes only
        self.changes: list[tuple[ObjectKey, bytes]] = []  # to be written down
        self._news = news
        self._new: dict[ObjectKey, None] = {}
        self._found: Findings | None = None

    # What a follower tells

    def all(self, told: Sequence[Told]) -> None:
        """These are all objects that there are."""
        found = {one.key: one for one in told}
        for key in self.documents.keys() - found.keys():
            self._set(key, None)
        for key, one in found.items():
            self._set(key, one.document)
        if self._writing:
            self.kept, self.changes = {key: one.kept for key, one in found.items()}, []
        self.fresh, self.saved_at = True, None
        self._news()

    def one(self, told: Told) -> None:
        """The object is new or another."""
        self._set(told.key, told.document)
        self._write(told.key, told.kept)
        self._news()

    def gone(self, key: ObjectKey) -> None:
        self._set(key, None)
        self._write(key, b"")
        self._news()

    def changed(self) -> None:
        """The follower's state is another."""
        self._news()

    # What the source asks

    def restore(self, told: Sequence[Told], seen: float) -> None:
        """What an earlier process knew at that time, seconds since the epoch; nothing if the server was faster."""
        if not self.fresh:
            for one in told:
                self._set(one.key, one.document)
            self.saved_at = seen
            self._news()

    @property
    def known(self) -> bool:
        """Whether there is something to serve by, be it of the disk."""
        return self.fresh or self.saved_at is not None

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be waited for before what is gone may go: all of it was told, or will not be."""
        standing = self.standing
        refused = standing is not None and standing.state in REFUSED and standing.refusals >= REFUSALS
        return self.fresh or refused

    def take(self) -> Iterator[tuple[ObjectKey, Document | None]]:
        """Objects that are not as they were when this was called last."""
        new, self._new = self._new, {}
        for key in new:
            yield key, self.documents.get(key)

    def findings(self) -> Findings | None:
        """What is wrong with the resource, if that is news."""
        standing = self.standing
        said: say.Said | None = None
        if standing is not None and standing.state in REFUSED:
            said = _refusal(standing, self.resource.name)
        name = f"kube {self.resource.name}"
        problems = () if said is None else (problem_of(said, "", 0, NO_OBJECT),)
        found = Findings(name, "", problems)
        before, self._found = self._found, found
        return None if found == (before or Findings(name, "")) else found

    def last_words(self) -> Iterator[Findings]:
        """What has to be told when nobody follows the resource any more."""
        if self._found is not None and self._found.problems:
            yield Findings(self._found.part, "")

    def _set(self, key: ObjectKey, document: Document | None) -> None:
        if document is None:
            if self.documents.pop(key, None) is not None:
                self._new[key] = None
        elif self.documents.get(key) != document:
            self.documents[key] = document
            self._new[key] = None

    def _write(self, key: ObjectKey, kept: bytes) -> None:
        if not self._writing:
            return
        if self.kept is None:
            self.changes.append((key, kept))
        elif kept:
            self.kept[key] = kept
        else:
            self.kept.pop(key, None)


def _refusal(standing: Standing, resource: str) -> say.Said:
    if standing.state == WatchState.DENIED:
        return say.KUBE_DENIED(resource=resource, reason=standing.reason)
    if standing.state == WatchState.UNKNOWN_TO_IT:
        return say.KUBE_UNKNOWN(resource=resource, reason=standing.reason)
    return say.KUBE_FAILING(resource=resource, reason=standing.reason)
