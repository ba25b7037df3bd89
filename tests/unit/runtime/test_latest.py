from __future__ import annotations

import asyncio

from tidegate.runtime.latest import Latest


async def test_reader_sees_the_newest_value_only() -> None:
    latest = Latest(0)
    for value in (1, 2, 3):
        await latest.set(value)
    assert await latest.newer(0) == (3, 3)


async def test_reader_waits_for_something_newer() -> None:
    latest = Latest("old")
    waiting = asyncio.create_task(latest.newer(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await latest.set("new")
    assert await waiting == (1, "new")
