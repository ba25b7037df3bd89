"""A directory of YAML files as a source.

Mechanism: runtime.watch says that something may have happened, then the directory is looked at. A look compares cheap
marks (inode, size, modification time of what each name leads to) and reads only when they changed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path

from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.source import Loaded, combine
from tidegate.model.mesh import Problem, Severity
from tidegate.runtime.watch import identity, signs

REVISION = "REVISION"
ORIGINS = ".origins.json"
_SUFFIXES = (".yaml", ".yml", ".json")
_SETTLE_S = 0.04  # who writes a file in place is in the middle of it for a moment
_SETTLE_ROUNDS = 5
_COMMIT_S = 0.4  # longest wait for REVISION after other files changed
_MAX_BYTES = 32 * 1024 * 1024

Mark = tuple[str, int, int, int]  # path, inode, size, mtime in ns


class FileSource:
    """Reads a directory (or one file) of Kubernetes and Istio documents.

    Names that start with a dot, a directory's included, are left out: editors and Kubernetes keep their own things
    there. File REVISION at the root (an integer) numbers the content, and a reading during which it changed is done
    again. File .origins.json at the root says what files are called in messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parsed: dict[str, tuple[bytes, ParsedFile]] = {}  # file -> digest of content and name, result
        self._marks: object = None
        self._told: object = None
        self._revision_told = 0

    async def watch(self) -> AsyncIterator[Loaded]:
        """Yield the content once the path exists, then whenever it changes. Never ends by itself."""
        async for _ in signs(self._path):
            loaded = await self._look()
            if loaded is not None:
                yield loaded

    def load(self) -> Loaded:
        """Read everything now."""
        while True:
            before = self._revision()
            loaded = self._read(before)
            if self._revision() == before:
                return loaded

    async def _look(self) -> Loaded | None:
        """The content if it changed since it was last told."""
        marks = await asyncio.to_thread(self._look_around)
        if marks == self._marks:
            return None
        for _ in range(_SETTLE_ROUNDS if self._marks is not None else 0):
            await asyncio.sleep(_SETTLE_S)
            before, marks = marks, await asyncio.to_thread(self._look_around)
            if marks == before:
                break
        if not marks and identity(self._path) is None:
            return None  # a directory that is away for a moment is no wish to delete everything
        marks = await self._committed(marks)
        self._marks = marks
        loaded = await asyncio.to_thread(self.load)
        told = (loaded.revision, loaded.problems, {name: digest for name, (digest, _) in self._parsed.items()})
        if told == self._told:
            return None
        self._told = told
        self._revision_told = loaded.revision
        return loaded

    async def _committed(self, marks: list[Mark]) -> list[Mark]:
        """Who numbers the content writes REVISION last: until then the files may be half of the next state."""
        told = self._revision_told
        waited = 0.0
        while told and self._revision() == told and waited < _COMMIT_S:
            await asyncio.sleep(_SETTLE_S)
            waited += _SETTLE_S
        return await asyncio.to_thread(self._look_around) if waited else marks

    def _look_around(self) -> list[Mark]:
        marks: list[Mark] = []
        extra = [self._path / REVISION, self._path / ORIGINS] if self._path.is_dir() else []
        for path in (*self._files(), *extra):
            try:
                found = path.stat()
            except OSError:
                continue
            marks.append((str(path), found.st_ino, found.st_size, found.st_mtime_ns))
        return marks

    def _read(self, revision: int) -> Loaded:
        names = self._origins()
        parsed: dict[str, tuple[bytes, ParsedFile]] = {}
        problems: list[Problem] = []
        if identity(self._path) is None:
            problems.append(_problem(str(self._path), "does not exist"))
        for path in self._files():
            relative = path.relative_to(self._path).as_posix() if path != self._path else ""
            shown = names.get(relative, str(path))
            try:
                content = _content(path)
            except (OSError, ValueError) as e:
                text = f"cannot be read: {e.strerror}" if isinstance(e, OSError) else str(e)
                problems.append(_problem(shown, text))
                continue
            digest = blake2b(content.encode() + b"\0" + shown.encode(), digest_size=16).digest()
            known = self._parsed.get(relative)
            parsed[relative] = known if known and known[0] == digest else (digest, parse_text(content, shown))
        self._parsed = parsed
        return Loaded(tuple(result for _, (_, result) in sorted(parsed.items())), revision, tuple(problems))

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path] if self._path.exists() else []
        found: list[Path] = []
        for root, directories, names in os.walk(self._path, followlinks=True):
            directories[:] = sorted(d for d in directories if not d.startswith("."))
            found.extend(Path(root, n) for n in names if not n.startswith(".") and n.endswith(_SUFFIXES))
        return sorted(found)

    def _revision(self) -> int:
        try:
            return int((self._path / REVISION).read_text())
        except (OSError, ValueError):
            return 0

    def _origins(self) -> dict[str, str]:
        try:
            table = json.loads((self._path / ORIGINS).read_text())
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in table.items() if isinstance(v, str)} if isinstance(table, dict) else {}


def load_paths(paths: list[Path]) -> Loaded:
    """Read several files or directories once, in the order given."""
    return combine([FileSource(path).load() for path in paths])


def _content(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES >> 20} MiB, ignored")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as e:
        raise ValueError(f"is no UTF-8 text (byte {e.start})") from e


def _problem(path: str, message: str) -> Problem:
    return Problem(path, 1, Severity.ERROR.value, "", "", "", "", message)
