"""Latest[T]: the only pipe between the rooms of the agent.

It holds the newest value, so bursts coalesce by themselves and a slow reader never builds a queue.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A value that is replaced, never queued. Use from one event loop."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._changed = asyncio.Condition()

    @property
    def value(self) -> T:
        return self._value

    @property
    def version(self) -> int:
        return self._version

    async def set(self, value: T) -> None:
        """Replace the value and wake every reader."""
        async with self._changed:
            self._value = value
            self._version += 1
            self._changed.notify_all()

    async def newer(self, version: int) -> tuple[int, T]:
        """Wait until the version is greater than the one given, then return (version, value)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version > version)
            return self._version, self._value
