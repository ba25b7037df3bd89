"""The way to a server that may be away: then one asks for all, and the others wait for what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock

_FIRST_S, _LONGEST_S = 0.2, 20.0


class AwayError(Exception):
    """The server did not answer, or the connection broke."""


class Gate:
    """Use from one event loop."""

    def __init__(self, clock: Clock, jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._backoff = Backoff(jitter, _FIRST_S, _LONGEST_S, reset_after=float("inf"))
        self._jitter = jitter
        self._delay = 0.0
        self._asking = False
        self._turn = asyncio.Event()
        self.reason = ""  # why the server is away; empty: it is not
        self.attempts = 0  # since it is away

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Around one request, up to the moment when the server answered. AwayError in it means that it did not."""
        asking = False
        try:
            while self.reason:
                if self._asking:
                    await self._turn.wait()
                    continue
                self._asking = asking = True
                await self._clock.sleep(self._delay)
                break
            try:
                yield
            except AwayError as error:
                if asking or not self.reason:  # others that were on their way say nothing new
                    self.attempts += 1
                    self._delay = self._backoff.next(0.0)
                self.reason = str(error)
                raise
            self.reason, self.attempts = "", 0
            self._backoff = Backoff(self._jitter, _FIRST_S, _LONGEST_S, reset_after=float("inf"))
        finally:
            if asking:
                self._asking = False
            if asking or not self.reason:
                self._turn.set()
                self._turn = asyncio.Event()
