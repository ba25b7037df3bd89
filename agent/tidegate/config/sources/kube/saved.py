"""What the API server told at last, on disk, so that a process that starts while the server is away has it.

A file for each kind: a line that says what it is, then a line for each object and each later change. It is written anew
when more of it is old than new. Its modification time says when all of it was known to be so. A line that was not
written to its end, as after a crash, ends the file. Modes are 0600: Secrets are among it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from tidegate.model.names import ObjectKey

log = logging.getLogger(__name__)

_FORMAT: Final = 1
_SLACK: Final = 1 << 20  # bytes of changes for which a file is not yet worth to be written anew


@dataclass(frozen=True, slots=True)
class SavedObjects:
    """What a file has. seen: when all of it was so, seconds since the epoch, by this node's clock."""

    objects: list[bytes]
    seen: float


@dataclass(slots=True)
class _File:
    path: Path
    whole: int  # bytes that were written at once
    length: int


class Saved:
    """A directory of what one server told. Blocks; use from one thread at a time. What fails is logged once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, _File] = {}
        self._failed = False

    def load(self, resource: str, server: str) -> SavedObjects | None:
        """What an earlier process left of a resource of that server (empty: of whichever); None if nothing."""
        path = self._path(resource)
        try:
            content = path.read_bytes()
            seen = path.stat().st_mtime
        except OSError:
            return None
        head, *lines = content.split(b"\n")[:-1] or [b""]
        return SavedObjects(list(_newest(lines).values()), seen) if _fits(head, resource, server) else None

    def replace(self, resource: str, server: str, objects: Mapping[ObjectKey, bytes]) -> bool:
        """All of a resource. False: it could not be written."""
        head = json.dumps({"format": _FORMAT, "resource": resource, "server": server}).encode()
        return self._write(resource, [head, *(_line(key, value) for key, value in objects.items())])

    def change(self, resource: str, changes: Iterable[tuple[ObjectKey, bytes]]) -> None:
        """What is new of a resource; nothing for an object that is gone. What cannot be written to its end is
        forgotten as a whole: half of the changes would be no state that ever was."""
        known = self._files.get(resource)
        if known is None:
            return
        content = b"".join(_line(key, value) + b"\n" for key, value in changes)
        try:
            with open(os.open(known.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), "wb") as file:
                file.write(content)
            known.length += len(content)
            if known.length - known.whole > max(_SLACK, known.whole):
                head, *lines = known.path.read_bytes().split(b"\n")[:-1]
                self._write(resource, [head, *(key + b"\t" + value for key, value in _newest(lines).items())])
        except OSError as error:
            self._fail(error)
            self.forget(resource)

    def _write(self, resource: str, lines: list[bytes]) -> bool:
        path = self._path(resource)
        content = b"\n".join([*lines, b""])
        new = path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            new.replace(path)
        except OSError as error:
            self._fail(error)
            with suppress(OSError):
                new.unlink(missing_ok=True)
            self.forget(resource)
            return False
        self._files[resource] = _File(path, len(content), len(content))
        return True

    def seen(self) -> None:
        """All of it is so at this moment."""
        for known in self._files.values():
            try:
                os.utime(known.path)
            except OSError as error:
                self._fail(error)

    def forget(self, resource: str) -> None:
        """Nobody wants it any more."""
        self._files.pop(resource, None)
        with suppress(OSError):
            self._path(resource).unlink(missing_ok=True)

    def _path(self, resource: str) -> Path:
        return self._directory / f"{blake2b(resource.encode(), digest_size=16).hexdigest()}.facts"

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            log.warning("what the API server tells would not survive a restart: %s", error)
        self._failed = True


def _line(key: ObjectKey, value: bytes) -> bytes:
    """Names of objects have no tabs, and JSON no line ends."""
    return f"{key.namespace}/{key.name}".encode() + b"\t" + value


def _newest(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """The last word on each object."""
    objects: dict[bytes, bytes] = {}
    for line in lines:
        key, _, value = line.partition(b"\t")
        if value:
            objects[key] = value
        else:
            objects.pop(key, None)
    return objects


def _fits(head: bytes, resource: str, server: str) -> bool:
    try:
        found: Any = json.loads(head)
    except ValueError:
        return False
    if not isinstance(found, dict) or found.get("format") != _FORMAT or found.get("resource") != resource:
        return False
    return not server or found.get("server") == server
