"""A directory of YAML files as a source.

Mechanism: runtime.watch says that something may have happened, then the directory is looked at. A look compares cheap
marks of what each name leads to (content.py); only files whose mark changed are read, and of those only the documents
that changed are parsed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from tidegate.config import messages as say
from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.sources.base import Change
from tidegate.config.sources.content import Listing, Mark, files_below, mark, read_text, shown
from tidegate.config.sources.holdings import Holdings
from tidegate.runtime.collector import paused
from tidegate.runtime.watch import identity, signs

REVISION = "REVISION"
ORIGINS = ".origins.json"
_SUFFIXES = (".yaml", ".yml", ".json")
_SETTLE_S = 0.04  # who writes a file in place is in the middle of it for a moment
_SETTLE_ROUNDS = 5
_COMMIT_S = 0.4  # longest wait for REVISION after other files changed
_READINGS = 20  # of a content that gets a new number each time that it is read
_FRESH_NS = 100_000_000  # a file that changed so recently may change again under the same mark
_ROOT = "/"  # part of the source: the directory itself
_NUMBER_BYTES = 100

Marks = dict[str, Mark | None]  # by path; None: the name leads nowhere


class FileSource:
    """Reads a directory (or one file) of Kubernetes and Istio documents.

    Names that start with a dot, a directory's included, are left out: editors and Kubernetes keep their own things
    there. File REVISION at the root (an integer) numbers the content, and a reading during which it changed is done
    again. File .origins.json at the root says what files are called in messages. What is neither a file nor a directory
    is never opened, unless it is the path itself and `pipes` is set.
    """

    def __init__(
        self, path: Path, pause: Callable[[float], Awaitable[None]] = asyncio.sleep, *, pipes: bool = False
    ) -> None:
        self._path = path
        self._pause = pause
        self._pipes = pipes
        self._listing = Listing([], {})
        self._unread: set[str] = set()  # directories that were told to be unreadable
        self._holdings = Holdings()
        self._read: dict[str, tuple[Mark | None, str]] = {}  # file -> mark when it was read, its name in messages
        self._marks: Marks | None = None
        self._names: tuple[Mark | None, dict[str, str]] = (None, {})
        self._unsure = False  # something is to be read again although its mark stays
        self._revision = 0  # that was told

    async def watch(self) -> AsyncIterator[Sequence[Change]]:
        """Tell the content once the path exists, then whatever changes in it. Never ends by itself."""
        async for _ in signs(self._path):
            changes = await self.look()
            if changes:
                yield changes

    def load(self) -> Sequence[Change]:
        """Read now what changed since the last reading; empty if nothing did."""
        return self._load(*self._look_around())

    async def look(self) -> Sequence[Change]:
        """As load, but waits until nobody seems to be in the middle of writing."""
        revision, marks = await asyncio.to_thread(self._look_around)
        if marks == self._marks and not self._unsure:
            return ()
        if self._marks not in (None, marks) and not self._is_committed():
            revision, marks = await self._settled(marks)
        if not marks and identity(self._path) is None:
            return ()  # a directory that is away for a moment is no wish to delete everything
        self._marks = marks
        return await asyncio.to_thread(self._load, revision, marks)

    def _load(self, revision: int, marks: Marks) -> Sequence[Change]:
        with paused():
            for _ in range(_READINGS):
                self._read_changed(dict(marks))
                if self._numbered() == revision:
                    break
                revision, marks = self._look_around()
            self._revision = revision
            return self._holdings.tell(revision)

    def _is_committed(self) -> bool:
        """Who numbers the content writes REVISION last: a new number says that nothing is half done."""
        return bool(self._revision) and self._numbered() != self._revision

    async def _settled(self, marks: Marks) -> tuple[int, Marks]:
        """Wait until nobody seems to be writing any more."""
        for _ in range(_SETTLE_ROUNDS):
            await self._pause(_SETTLE_S)
            before = marks
            revision, marks = await asyncio.to_thread(self._look_around)
            if marks == before:
                break
        waited = 0.0
        while self._revision and not self._is_committed() and waited < _COMMIT_S:
            await self._pause(_SETTLE_S)
            waited += _SETTLE_S
        return await asyncio.to_thread(self._look_around) if waited else (revision, marks)

    def _look_around(self) -> tuple[int, Marks]:
        """REVISION, then the marks: what was there when it was written is seen."""
        revision = self._numbered()
        root = os.fspath(self._path)
        extra = [os.path.join(root, REVISION), os.path.join(root, ORIGINS)] if os.path.isdir(root) else []
        marks: Marks = {path: mark(path) for path in self._list(root)}
        marks.update((path, found) for path in extra if (found := mark(path)))
        return revision, marks

    def _list(self, root: str) -> list[str]:
        if not os.path.isdir(root):
            return [root] if os.path.exists(root) else []
        self._listing = files_below(root, _SUFFIXES)
        return self._listing.paths

    def _read_changed(self, marks: Marks) -> None:
        root = os.fspath(self._path)
        if identity(self._path) is None:
            if self._read:
                self._unsure = True
                return  # away for a moment
            self._holdings.put(_ROOT, ParsedFile(root), say.ABSENT())
        elif _ROOT in self._holdings.names:
            self._holdings.drop(_ROOT)
        called = self._called(marks.pop(os.path.join(root, ORIGINS), None))
        marks.pop(os.path.join(root, REVISION), None)
        below = len(os.path.join(root, ""))
        found = {path[below:]: (path, seen) for path, seen in marks.items()}
        for relative in self._read.keys() - found.keys():
            if not self._listing.missing(os.path.join(root, relative)):
                self._holdings.drop(relative)
                del self._read[relative]
        self._say_unread()
        for relative, (path, seen) in found.items():
            name = shown(called.get(relative, path))
            if seen is None or self._read.get(relative) != (seen, name):
                self._read[relative] = (self._read_file(relative, path, name, seen), name)
        self._unsure = any(seen is None for seen, _ in self._read.values())

    def _say_unread(self) -> None:
        """Name the directories that could not be read; what was in them stays as it was."""
        unread = {os.path.join(path, ""): said for path, said in self._listing.unread.items()}
        for part in self._unread - unread.keys():
            self._holdings.drop(part)
        for part, said in unread.items():
            self._holdings.put(part, ParsedFile(shown(part)), said)
        self._unread = set(unread)

    def _read_file(self, relative: str, path: str, name: str, seen: Mark | None) -> Mark | None:
        """Read one file; the mark by which its next version will be told apart, None if there is none."""
        try:
            text = read_text(path, pipes=self._pipes and not relative)
        except OSError as e:
            self._holdings.put(relative, ParsedFile(name), say.UNREADABLE(reason=e.strerror))
            return None
        except say.Wrong as e:
            self._holdings.put(relative, ParsedFile(name), e.said)
        else:
            self._holdings.put(relative, parse_text(text, name, self._holdings.content(relative)))
        return None if seen is None or abs(time.time_ns() - seen[-1]) < _FRESH_NS else seen

    def _numbered(self) -> int:
        try:
            return int(read_text(os.fspath(self._path / REVISION), _NUMBER_BYTES))
        except (OSError, ValueError):
            return 0

    def _called(self, seen: Mark | None) -> dict[str, str]:
        if seen is None or seen != self._names[0]:
            self._names = (seen, _origins(os.fspath(self._path / ORIGINS)) if seen else {})
        return self._names[1]


def load_paths(paths: Sequence[Path]) -> list[Sequence[Change]]:
    """Read several files or directories once: what each of them says, in the order given."""
    return [FileSource(path, pipes=True).load() for path in paths]


def _origins(path: str) -> dict[str, str]:
    try:
        table = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in table.items() if isinstance(v, str)} if isinstance(table, dict) else {}
