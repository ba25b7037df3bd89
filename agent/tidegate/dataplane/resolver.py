"""Names that TCP services are behind, resolved as the node resolves them: the relay dials addresses only.

Envoy resolves for HTTP itself. A name is asked again as often as the mesh says (dnsRefreshRate, a minute if it does
not), as Envoy does it where nobody says a time to live; what was found stays while a resolver does not answer, and a
name of which nothing is known is asked again by its own back-off. Answers are news for the cycle, and a slow resolver
holds up nobody but the names that wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping

from tidegate.model.net import IPAddress, parse_ip
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 1.0  # between two questions for a name, whatever the mesh says: each takes a thread
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0  # of the back-off of a name that cannot be resolved
MOST_ADDRESSES = 256  # of one name
THREADS = 4  # names that are asked for at the same time

Lookup = Callable[[str], tuple[IPAddress, ...]]  # blocks; raises OSError
Resolved = Mapping[str, tuple[IPAddress, ...]]


def lookup(host: str) -> tuple[IPAddress, ...]:
    """As the node's own programs resolve a name: every address, in order. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = {parse_ip(str(entry[4][0]).partition("%")[0]) for entry in found}
    usable = (a for a in addresses if not (a.is_loopback or a.is_unspecified or a.is_multicast or a.is_link_local))
    return tuple(sorted(usable, key=lambda a: (a.version, int(a)))[:MOST_ADDRESSES])


class Resolver:
    """Addresses of the names that are wanted. Use from one event loop."""

    def __init__(self, worker: Worker, clock: Clock, jitter: Callable[[], float], ask: Lookup = lookup) -> None:
        self.resolved: Latest[Resolved] = Latest({})
        self._worker = worker
        self._clock = clock
        self._ask = ask
        self._jitter = jitter
        self._backoffs: dict[str, Backoff] = {}  # of names that were not found
        self._due: dict[str, float] = {}  # monotonic seconds
        self._asking: set[str] = set()
        self._refresh = 0.0  # seconds
        self._wake = asyncio.Event()

    def want(self, names: frozenset[str], refresh_ms: int) -> None:
        """The names that are wanted from now on, and after how long each is asked again; others are forgotten."""
        refresh = max(refresh_ms / 1000, SHORTEST_SECONDS)
        if names == self._due.keys() and refresh == self._refresh:
            return
        now, self._refresh = self._clock.monotonic(), refresh
        self._due = {name: min(self._due.get(name, now), now + refresh) for name in names}
        self._backoffs = {name: backoff for name, backoff in self._backoffs.items() if name in names}
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as asking:
            while True:
                self._wake.clear()
                now = self._clock.monotonic()
                for name in [n for n, due in self._due.items() if due <= now and n not in self._asking]:
                    self._asking.add(name)
                    asking.create_task(self._resolve(name))
                await self._sleep()

    async def _sleep(self) -> None:
        """Until a name is due, or there are others."""
        waiting = [due for name, due in self._due.items() if name not in self._asking]
        tasks: set[asyncio.Task[object]] = {asyncio.create_task(self._woken())}
        if waiting:
            seconds = max(0.0, min(waiting) - self._clock.monotonic())
            tasks.add(asyncio.create_task(self._until(seconds)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _woken(self) -> object:
        return await self._wake.wait()

    async def _until(self, seconds: float) -> object:
        await self._clock.sleep(seconds)
        return seconds

    async def _resolve(self, name: str) -> None:
        try:
            found = await self._worker.do(self._ask, name)
        except (OSError, UnicodeError) as error:
            log.info("%s cannot be resolved: %s", name, error)
            found = ()
        self._asking.discard(name)
        if name in self._due:
            now = self._clock.monotonic()
            if found:
                self._backoffs.pop(name, None)
                self._due[name] = now + self._refresh
            else:
                fresh = Backoff(self._jitter, FIRST_SECONDS, LONGEST_SECONDS, reset_after=float("inf"))
                self._due[name] = now + self._backoffs.setdefault(name, fresh).next(0.0)
            await self._tell(name, found)
        self._wake.set()

    async def _tell(self, name: str, found: tuple[IPAddress, ...]) -> None:
        before = self.resolved.value
        now = {known: addresses for known, addresses in before.items() if known in self._due}
        if found:
            now[name] = found
        if now != before:
            await self.resolved.set(now)
