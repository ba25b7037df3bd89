"""Looks into a pod again when its links, addresses or IPv6 routes changed: it need not stay as it was enrolled.

The kernel tells by a netlink socket of the pod's netns. What it says is not read: whoever floods it gets one look at a
time, and looks that follow each other are ever farther apart.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from tidegate.dataplane.capture import Inside, Seen
from tidegate.dataplane.devices import NetnsHandle
from tidegate.linux.netlink import heard
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # from one look at a pod to the next
CALM_SECONDS = 10.0  # without news: then the next one is heard at once again


class Watching:
    """For one event loop."""

    def __init__(
        self,
        pods: Worker,
        inside: Inside,
        clock: Clock,
        jitter: Callable[[], float],
        saw: Callable[[int, Seen], Awaitable[None]],
    ) -> None:
        """saw: called with the cookie after each look."""
        self._pods = pods
        self._inside = inside
        self._clock = clock
        self._jitter = jitter
        self._saw = saw
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._looking = 0

    async def start(self, cookie: int, netns: NetnsHandle) -> Seen:
        """Prepare the pod and watch it until stop(), from what is returned on; takes ownership of netns. Raises OSError
        if nothing can be done in there, or nobody be asked to tell."""
        asking = asyncio.ensure_future(self._pods.do(self._inside.watch, netns.fd))
        try:
            seen, events = await asyncio.shield(asking)
        except BaseException:  # if this was cancelled, the thread is still inside
            asking.add_done_callback(lambda done: _close(netns, *(() if done.exception() else (done.result()[1],))))
            raise
        self.stop(cookie)
        task = asyncio.create_task(self._follow(cookie, netns, events), name=f"watch netns {cookie}")
        self._tasks[cookie] = task
        # Also of a task that is cancelled before it began.
        task.add_done_callback(lambda _: _close(events, netns))
        return seen

    @property
    def busy(self) -> bool:
        """Whether a look is under way, or what was seen is not dealt with yet."""
        return self._looking > 0

    def __contains__(self, cookie: int) -> bool:
        return cookie in self._tasks

    def stop(self, cookie: int) -> None:
        """Watch no more; a look that is under way is the last."""
        task = self._tasks.pop(cookie, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Watch nothing any more."""
        tasks = tuple(self._tasks.values())
        for cookie in tuple(self._tasks):
            self.stop(cookie)
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------
    async def _follow(self, cookie: int, netns: NetnsHandle, events: socket.socket) -> None:
        backoff = Backoff(self._jitter, FIRST_SECONDS, LONGEST_SECONDS, reset_after=CALM_SECONDS)
        looked = self._clock.monotonic() - CALM_SECONDS
        while True:
            await _readable(events)
            calm = self._clock.monotonic() - looked
            heard(events)
            self._looking += 1
            try:
                await self._saw(cookie, await self._look(netns))
            except OSError as error:
                log.warning("netns %d changed and cannot be looked into: %s", cookie, error)
            finally:
                self._looking -= 1
            looked = self._clock.monotonic()
            await self._clock.sleep(backoff.next(calm))

    async def _look(self, netns: NetnsHandle) -> Seen:
        """The netns stays open until the thread that is inside has come back, also if this is cancelled."""
        looking = asyncio.ensure_future(self._pods.do(self._inside.prepare, netns.fd))
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            await asyncio.wait((looking,))
            raise


def _close(*things: NetnsHandle | socket.socket) -> None:
    for thing in things:
        thing.close()


async def _readable(events: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(events, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(events)
