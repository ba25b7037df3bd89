"""Who goes first, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.clock import ManualClock

from tidegate.dataplane.turns import CALM_SECONDS, MOST_SECONDS, Turns


class Call:
    """One that comes again: begun when it is its turn, done when the test says so."""

    def __init__(self, turns: Turns) -> None:
        self.begun = False
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._call(turns))

    async def _call(self, turns: Turns) -> None:
        async with turns.last():
            self.begun = True
            await self.end.wait()


async def turned(clock: ManualClock, seconds: float, begun: Callable[[], bool]) -> bool:
    """Whether it began when the clock had been turned so far."""
    passed = 0.0
    while passed < seconds - 1e-9:
        await _settle()
        clock.advance(CALM_SECONDS)
        passed += CALM_SECONDS
    await _settle()
    return begun()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_again_begins_after_a_moment_without_others() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    with turns.first():
        call = Call(turns)
        assert not await turned(clock, 10 * CALM_SECONDS, lambda: call.begun)
    assert not await turned(clock, 0, lambda: call.begun), "a runtime that has more to do asks now"
    with turns.first():
        assert not await turned(clock, 10 * CALM_SECONDS, lambda: call.begun)
    assert await turned(clock, 2 * CALM_SECONDS, lambda: call.begun)
    call.end.set()
    await call.task


async def test_who_comes_again_waits_a_moment_for_those_that_come_with_him() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    call = Call(turns)
    assert not await turned(clock, 0, lambda: call.begun)
    assert await turned(clock, CALM_SECONDS, lambda: call.begun)
    call.end.set()
    await call.task


async def test_of_those_that_come_again_one_is_under_way() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    calls = [Call(turns) for _ in range(3)]
    for number in range(3):
        assert await turned(clock, 2 * CALM_SECONDS, lambda number=number: calls[number].begun)  # type: ignore[misc]
        assert [call.begun for call in calls].count(True) == number + 1
        calls[number].end.set()
    await asyncio.gather(*(call.task for call in calls))


async def test_nobody_waits_for_ever() -> None:
    """Neither for others that never end, nor for others that come one after the other."""
    clock = ManualClock()
    turns = Turns(clock)
    with turns.first():
        calls = [Call(turns) for _ in range(2)]
        assert not await turned(clock, MOST_SECONDS / 2, lambda: any(call.begun for call in calls))
        with turns.first():
            assert await turned(clock, MOST_SECONDS / 2, lambda: all(call.begun for call in calls))
    for call in calls:
        call.end.set()
        await call.task


async def test_who_hangs_is_not_waited_for_by_all_that_come_after_him() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    with turns.first():
        clock.advance(MOST_SECONDS)
        call = Call(turns)
        assert await turned(clock, CALM_SECONDS, lambda: call.begun)
    call.end.set()
    await call.task


async def test_who_gives_up_leaves_nothing_behind() -> None:
    clock = ManualClock()
    turns = Turns(clock)
    first = Call(turns)
    assert await turned(clock, CALM_SECONDS, lambda: first.begun)
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    second = Call(turns)
    assert await turned(clock, CALM_SECONDS, lambda: second.begun)
    second.end.set()
    await second.task
