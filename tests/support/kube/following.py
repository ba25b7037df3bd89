"""A KubeSource that is followed, as config.follow does it, with a clock that a test turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.clock import ManualClock
from tests.support.eventually import HANG_SECONDS
from tidegate.config.sources.base import Change, Delete, Upsert
from tidegate.config.sources.kube.access import Access, AccessSource
from tidegate.config.sources.kube.source import KubeSource
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.runtime.clock import Clock


class WallClock(ManualClock):
    """A wall clock that is somewhere else than the monotonic one, as after somebody set it."""

    offset = 0.0

    def now(self) -> float:
        return time.time() + self._time - 1000.0 + self.offset


class Following:
    """What a source has told so far."""

    def __init__(self, source: KubeSource, clock: Clock) -> None:
        self.source = source
        self.clock = clock
        self.batches: list[Sequence[Change]] = []
        self.mesh: Mesh | None = None
        self._store = Store()
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for changes in self.source.watch():
            self.batches.append(changes)
            self.mesh = self._store.apply(0, changes)

    async def until(self, check: Callable[[], Any], what: str, *, turn: float = 0.0) -> None:
        """Wait for the world. turn: seconds by which the clock is turned before each look."""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while not check():
                    if self.task.done():
                        self.task.result()
                    if turn and isinstance(self.clock, ManualClock):
                        self.clock.advance(turn)
                    await asyncio.sleep(0.005)  # the poll itself
        except TimeoutError as error:
            raise AssertionError(f"not within {HANG_SECONDS:.0f} s: {what}; {self.source.status()}") from error

    async def in_sync(self, *, turn: float = 0.0) -> None:
        await self.until(lambda: self.mesh is not None, "the source is in sync", turn=turn)

    def has(self, kind: str, name: str) -> bool:
        return name in self.names(kind)

    def names(self, kind: str) -> list[str]:
        """Of the objects of a kind that were told and not taken back."""
        return sorted(key.name for told in self._store._told for key in told if key.kind == kind)

    def deleted(self) -> list[str]:
        return [f"{c.key.kind} {c.key.name}" for batch in self.batches for c in batch if isinstance(c, Delete)]

    def told(self, kind: str) -> int:
        """How often something new of a kind was told."""
        return sum(isinstance(c, Upsert) and c.document.key.kind == kind for batch in self.batches for c in batch)

    def kind(self, resource: str) -> dict[str, Any]:
        """What the status says of a resource; of one that is not installed that alone."""
        absent = {"resource": resource, "state": "not installed"}
        return next((kind for kind in self.source.status()["kinds"] if kind["resource"] == resource), absent)


@asynccontextmanager
async def following(
    access: AccessSource, state: Path | None = None, *, clock: Clock | None = None, **more: Any
) -> AsyncIterator[Following]:
    """Until the end of the context. more: as KubeSource takes it."""
    clock = clock or WallClock()
    one = Following(KubeSource("kube", access, clock, lambda: 0.0, state, **more), clock)
    try:
        yield one
    finally:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)


def access_to(address: str, token: str) -> AccessSource:
    """Of a server without TLS."""
    return lambda: Access(address, token=token)
