"""Several sources become one configuration, and none before each has spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.support.configs import Texts, service
from tests.support.eventually import HANG_SECONDS

from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.base import Change
from tidegate.model.mesh import Mesh
from tidegate.runtime.latest import Latest


class Told:
    """A source that says what a test puts in."""

    def __init__(self) -> None:
        self._texts = Texts()
        self.changes: asyncio.Queue[Sequence[Change]] = asyncio.Queue()

    def say(self, name: str) -> None:
        self.changes.put_nowait(self._texts.say({f"{name}.yaml": service(name, "http:80")}))

    async def watch(self) -> AsyncIterator[Sequence[Change]]:
        while True:
            yield await self.changes.get()
            self.changes.task_done()


async def test_follow(tmp_path: Path) -> None:
    one, two = Told(), Told()
    out: Latest[Mesh | None] = Latest(None)
    task = asyncio.create_task(follow([one, two], out, LastGood(tmp_path)))
    one.say("a")
    await asyncio.wait_for(one.changes.join(), HANG_SECONDS)
    assert out.value is None
    two.say("b")
    version, config = await asyncio.wait_for(out.newer(0), HANG_SECONDS)
    assert config is not None
    assert [s.id.name for s in config.services] == ["a", "b"]
    one.say("c")
    _, config = await asyncio.wait_for(out.newer(version), HANG_SECONDS)
    assert config is not None
    assert [s.id.name for s in config.services] == ["b", "c"]
    task.cancel()
