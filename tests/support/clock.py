"""A clock that stands still until the test turns it."""

from __future__ import annotations

import asyncio


class ManualClock:
    """tidegate.runtime.clock.Clock whose sleepers wake up when advance() passes their time."""

    def __init__(self, start: float = 1000.0) -> None:
        self._time = start
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._time + seconds, waiting))
        await waiting

    def waiting(self) -> list[float]:
        """Seconds that each sleeper still has to wait, shortest first."""
        return sorted(due - self._time for due, waiting in self._sleepers if not waiting.done())

    def advance(self, seconds: float) -> None:
        """Turn the clock and wake whoever is due."""
        self._time += seconds
        due = [s for s in self._sleepers if s[0] <= self._time + 1e-9]
        self._sleepers = [s for s in self._sleepers if s not in due]
        for _, waiting in due:
            if not waiting.done():
                waiting.set_result(None)
