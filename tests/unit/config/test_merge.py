"""Several sources become one configuration, and none before each has spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.configs import service
from tests.support.eventually import HANG_SECONDS

from tidegate.config.documents import parse_text
from tidegate.config.last_good import LastGood
from tidegate.config.merge import follow
from tidegate.config.source import Loaded
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.runtime.latest import Latest


class Told:
    """A source that says what a test puts in."""

    def __init__(self) -> None:
        self.readings: asyncio.Queue[Loaded] = asyncio.Queue()

    async def watch(self) -> AsyncIterator[Loaded]:
        while True:
            yield await self.readings.get()
            self.readings.task_done()


def reading(name: str) -> Loaded:
    return Loaded((parse_text(service(name, "http:80"), f"{name}.yaml"),))


async def test_follow(tmp_path: Path) -> None:
    one, two = Told(), Told()
    out: Latest[Mesh | None] = Latest(None)
    task = asyncio.create_task(follow([one, two], Store(), out, LastGood(tmp_path)))
    one.readings.put_nowait(reading("a"))
    await asyncio.wait_for(one.readings.join(), HANG_SECONDS)
    assert out.value is None
    two.readings.put_nowait(reading("b"))
    version, config = await asyncio.wait_for(out.newer(0), HANG_SECONDS)
    assert config is not None
    assert [s.id.name for s in config.services] == ["a", "b"]
    one.readings.put_nowait(reading("c"))
    _, config = await asyncio.wait_for(out.newer(version), HANG_SECONDS)
    assert config is not None
    assert [s.id.name for s in config.services] == ["b", "c"]
    task.cancel()
