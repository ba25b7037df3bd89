"""Who goes first: sandboxes that come, and behind them those that come again and again (enroll/crash_loops.py).

Passes, records and Envoy's answers are everybody's, so an enrolment that begins beside another one makes both longer.
Whoever comes again begins when nobody has been enrolled for a moment, and then alone; but not never.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tidegate.runtime.clock import Clock

CALM_SECONDS = 0.05  # without anybody: a runtime that has more to do has asked again by then
MOST_SECONDS = 2.0  # that somebody waits for others, or others for him
_SLACK_SECONDS = 0.001  # by which a timer may be early


class Turns:
    """For one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way: dict[object, float] = {}  # since when
        self._calm_since = -math.inf

    @contextmanager
    def first(self) -> Iterator[None]:
        """What is done inside waits for nobody."""
        key = object()
        self._under_way[key] = self._clock.monotonic()
        try:
            yield
        finally:
            del self._under_way[key]
            self._calm_since = self._clock.monotonic()

    @asynccontextmanager
    async def last(self) -> AsyncIterator[None]:
        """What is done inside begins when nothing else was under way for CALM_SECONDS, at the latest after
        MOST_SECONDS."""
        come = self._clock.monotonic()
        while not self._may_begin(come):
            await self._clock.sleep(CALM_SECONDS)
        with self.first():
            yield

    def _may_begin(self, come: float) -> bool:
        now = self._clock.monotonic() + _SLACK_SECONDS
        if now - come >= MOST_SECONDS:
            return True
        busy = any(now - since < MOST_SECONDS for since in self._under_way.values())
        return not busy and now - max(come, self._calm_since) >= CALM_SECONDS
