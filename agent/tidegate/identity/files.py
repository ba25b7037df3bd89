"""Files that are replaced under a running process: read when they change; one that is wrong leaves what was read before
in place, and is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from tidegate.errors import Rejected
from tidegate.runtime.watch import signs

log = logging.getLogger(__name__)

MOST_BYTES = 16 << 20

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """A file and what it says. Use from one event loop."""

    def __init__(self, path: Path, read: Callable[[bytes, str], T]) -> None:
        """read: of its content and what to call it; raises Rejected. Raises Rejected if it cannot be used as it is."""
        self.path = path
        self.problem = ""  # what is wrong with what stands in it now
        self._read = read
        self.value = self._content()

    async def run(self, changed: Callable[[T], Awaitable[None]] | None = None) -> None:
        """Follow it, for ever. changed: hears of each new value."""
        async for _ in signs(self.path):
            try:
                value = await asyncio.to_thread(self._content)
            except Rejected as error:
                if str(error) != self.problem:
                    log.warning("what was read before goes on: %s", error)
                self.problem = str(error)
                continue
            self.problem = ""
            if value != self.value:
                self.value = value
                log.info("%s was read anew", self.path)
                if changed is not None:
                    await changed(value)

    def _content(self) -> T:
        try:
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise Rejected(str(self.path), f"cannot be read: {error.strerror}") from None
        if len(content) > MOST_BYTES:
            raise Rejected(str(self.path), f"has more than {MOST_BYTES} bytes")
        return self._read(content, str(self.path))
