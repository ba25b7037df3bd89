"""Looks at the data plane when a page asks, and only then; several pages share one look.

Walking the flow table and asking Envoy cost something, so a look is used for FRESH seconds, and a walk that took long
is not repeated until SHARE times as long has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tidegate.bpf.records import FlowGroup
from tidegate.errors import Transient
from tidegate.model.workload import Sandbox
from tidegate.observe.dashboard.envoy_stats import PATH, EnvoyStats, parse
from tidegate.observe.dashboard.figures import Scrape, figures, sample
from tidegate.observe.dashboard.history import History
from tidegate.relay.events import RelayStats
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.telemetry.pairs import Pairs

FRESH: Final = 0.9  # seconds
SHARE: Final = 20.0

View = Callable[[Mapping[str, str]], Awaitable[Any]]


class Dashboard:
    """Provider of /figures for observe.admin."""

    def __init__(
        self,
        *,
        status: View,
        rows: View,
        verdicts: Callable[[], Mapping[str, int]],
        live: Callable[[], Mapping[FlowGroup, int]],
        fastpath: Callable[[], Awaitable[RelayStats]],
        pairs: Pairs,
        envoy: Callable[[str], Awaitable[str]],
        services: Callable[[], Mapping[int, str]],
        sandboxes: Callable[[], Mapping[int, Sandbox]],
        clock: Clock | None = None,
    ) -> None:
        """status, rows: what /status and /pods answer; envoy: a page of its admin interface, raises Transient."""
        self._status = status
        self._rows = rows
        self._verdicts = verdicts
        self._live = live
        self._fastpath = fastpath
        self._pairs = pairs
        self._envoy = envoy
        self._services = services
        self._sandboxes = sandboxes
        self._clock = clock or SystemClock()
        self._history = History()
        self._looking = asyncio.Lock()
        self._last: tuple[float, dict[str, Any]] | None = None
        self._flows: Mapping[FlowGroup, int] = {}
        self._flows_due = 0.0

    async def figures(self, _: Mapping[str, str]) -> dict[str, Any]:
        """The newest figures, at most FRESH seconds old."""
        async with self._looking:
            now = self._clock.monotonic()
            if self._last is None or now - self._last[0] >= FRESH:
                self._last = (now, await self._look())
            return self._last[1]

    async def _look(self) -> dict[str, Any]:
        status, rows = await self._status({}), await self._rows({})
        envoy, silent = await self._ask_envoy()
        reading = Scrape(
            at=self._clock.monotonic(),
            verdicts=self._verdicts(),
            fastpath=await self._fastpath(),
            live=await self._walk_flows(),
            ended=self._pairs.totals(),
            envoy=envoy,
            services=self._services(),
            pods={cookie: str(sandbox.id) for cookie, sandbox in self._sandboxes().items()},
        )
        self._history.add(sample(reading))
        kernel = {row["netns_cookie"]: row for row in rows}
        return {
            "at": round(self._clock.now(), 3),
            "status": status,
            "pods": [{**pod, "kernel": kernel.get(pod["netns_cookie"])} for pod in status["pods"]],
            **figures(reading, self._history),
            "envoy_silent": silent,
        }

    async def _ask_envoy(self) -> tuple[EnvoyStats | None, str]:
        try:
            return parse(await self._envoy(PATH)), ""
        except Transient as error:
            return None, error.reason
        except ValueError as error:
            return None, str(error)

    async def _walk_flows(self) -> Mapping[FlowGroup, int]:
        began = self._clock.monotonic()
        if began >= self._flows_due:
            self._flows = await asyncio.to_thread(self._live)
            ended = self._clock.monotonic()
            self._flows_due = ended + (ended - began) * SHARE
        return self._flows
