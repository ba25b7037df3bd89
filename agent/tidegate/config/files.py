"""A directory of YAML files as a source.

Mechanism: watchfiles says that something changed, then the whole directory is read and compared by content; a slow
poll backs it up. Watching alone misses atomic symlink swaps (Kubernetes swaps ..data, so no event names the files)
and events can be lost; reading everything is cheap, because files whose content is known are not parsed again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from watchfiles import awatch

from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.store import Loaded
from tidegate.model.mesh import Problem, Severity

_SUFFIXES = (".yaml", ".yml", ".json")
_DEBOUNCE_MS = 50  # at most this long is a burst of events collected
_POLL_S = 0.25
_RETRIES = 20
_MAX_BYTES = 32 * 1024 * 1024


class FileSource:
    """Reads a directory (or one file) of Kubernetes and Istio documents.

    Names that start with a dot, a directory's included, are left out: editors and Kubernetes keep their own things
    there. File REVISION at the root (an integer) numbers the content, and a reading during which it changed is done
    again. File .origins.json at the root says what files are called in messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parsed: dict[str, tuple[bytes, ParsedFile]] = {}  # file -> digest of content and name, result
        self._last: object = None

    async def watch(self) -> AsyncIterator[Loaded]:
        """Yield the content now, then whenever it changes. Never ends by itself; the directory may appear later."""
        yield self.load()
        while True:
            await self._event()
            loaded, changed = self._load()
            if changed:
                yield loaded

    async def _event(self) -> None:
        """Wait for a sign of change, or for the next poll."""
        if not self._path.exists():
            await asyncio.sleep(_POLL_S)
            return
        events = awatch(
            self._path,
            debounce=_DEBOUNCE_MS,
            step=10,
            rust_timeout=int(_POLL_S * 1000),
            yield_on_timeout=True,
            watch_filter=None,
            ignore_permission_denied=True,
        )
        try:
            await anext(events)
        except (FileNotFoundError, OSError):  # it vanished between the look and the watch
            await asyncio.sleep(_POLL_S)
        finally:
            await events.aclose()

    def load(self) -> Loaded:
        """Read everything now."""
        return self._load()[0]

    def _load(self) -> tuple[Loaded, bool]:
        for _ in range(_RETRIES):
            before = self._revision()
            loaded, state = self._read(before)
            if self._revision() == before:
                break
        changed = state != self._last
        self._last = state
        return loaded, changed

    def _read(self, revision: int) -> tuple[Loaded, object]:
        names = self._origins()
        parsed: dict[str, tuple[bytes, ParsedFile]] = {}
        problems: list[Problem] = []
        for path in self._files():
            relative = "" if path == self._path else path.relative_to(self._path).as_posix()
            shown = names.get(relative, str(path))
            try:
                content = _content(path)
            except OSError as e:
                problems.append(_problem(shown, f"cannot be read: {e.strerror}"))
                if relative in self._parsed:
                    parsed[relative] = self._parsed[relative]
                continue
            except ValueError as e:
                problems.append(_problem(shown, str(e)))
                continue
            digest = blake2b(content.encode() + b"\0" + shown.encode(), digest_size=16).digest()
            known = self._parsed.get(relative)
            parsed[relative] = known if known and known[0] == digest else (digest, parse_text(content, shown))
        self._parsed = parsed
        files = tuple(result for _, (_, result) in sorted(parsed.items()))
        state = (revision, tuple((name, digest) for name, (digest, _) in sorted(parsed.items())), tuple(problems))
        return Loaded(files, revision, tuple(problems)), state

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
            return int((self._path / "REVISION").read_text())
        except (OSError, ValueError):
            return 0

    def _origins(self) -> dict[str, str]:
        try:
            table = json.loads((self._path / ".origins.json").read_text())
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in table.items() if isinstance(v, str)} if isinstance(table, dict) else {}


def load_paths(paths: list[Path]) -> Loaded:
    """Read several files or directories once, in the order given."""
    loads = [FileSource(p).load() for p in paths]
    return replace(
        Loaded(),
        files=tuple(f for one in loads for f in one.files),
        problems=tuple(p for one in loads for p in one.problems),
        revision=max((one.revision for one in loads), default=0),
    )


def _content(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES >> 20} MiB, ignored")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as e:
        raise ValueError(f"is no UTF-8 text (byte {e.start})") from e


def _problem(path: str, message: str) -> Problem:
    return Problem(path, 1, Severity.ERROR.value, "", "", "", "", message)
