"""While a server is away one asks for all."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.clock import ManualClock

from tidegate.config.sources.kube.gate import AwayError, Gate


class World:
    """Some who want something of a server that is there or not."""

    def __init__(self, count: int) -> None:
        self.clock = ManualClock()
        self.gate = Gate(self.clock, lambda: 0.0)
        self.there = False
        self.asked = 0
        self.done = 0
        self.tasks = [asyncio.create_task(self._want()) for _ in range(count)]

    async def _want(self) -> None:
        while True:
            try:
                async with self.gate.attempt():
                    self.asked += 1
                    await asyncio.sleep(0)
                    if not self.there:
                        raise AwayError("nobody there")
                self.done += 1
                return
            except AwayError:
                pass

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_one_asks_ever_more_rarely_until_all_may_go_on() -> None:
    world = World(5)
    await world.settle()
    assert (world.asked, world.gate.reason) == (5, "nobody there")
    waits = []
    for _ in range(9):
        waiting = world.clock.waiting()
        assert len(waiting) == 1, "one asks for all"
        waits.append(round(waiting[0], 3))
        world.clock.advance(waiting[0])
        await world.settle()
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]
    assert world.asked == 5 + 9
    assert world.gate.attempts == 10
    world.there = True
    world.clock.advance(20.0)
    await world.settle()
    assert (world.done, world.gate.reason, world.gate.attempts) == (5, "", 0)
    await world.end()


async def test_who_is_cancelled_while_he_asks_leaves_it_to_another() -> None:
    world = World(2)
    await world.settle()
    for task in world.tasks[:1]:
        task.cancel()
    await world.settle()
    world.there = True
    for _ in range(2):
        for wait in world.clock.waiting():
            world.clock.advance(wait)
            await world.settle()
    assert world.done == 1
    await world.end()


async def test_an_error_of_another_sort_is_an_answer() -> None:
    gate = Gate(ManualClock(), lambda: 0.0)
    with pytest.raises(ValueError, match="refused"):
        async with gate.attempt():
            raise ValueError("refused")
    assert gate.reason == ""
