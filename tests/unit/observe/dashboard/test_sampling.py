from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.support.clock import ManualClock

from tidegate.bpf.records import FlowGroup
from tidegate.errors import Transient
from tidegate.model.tier import Tier
from tidegate.observe.dashboard.sampling import FRESH, SHARE, Dashboard
from tidegate.relay.events import RelayStats
from tidegate.telemetry.pairs import Pairs


class DataPlane:
    """What the dashboard looks at, with a count of the looks. A walk of the flow table takes `slow` seconds."""

    def __init__(self, slow: float = 0.0) -> None:
        self.clock = ManualClock()
        self.slow = slow
        self.looks = self.walks = 0
        self.envoy = '{"stats": [{"name": "server.uptime", "value": 5}]}'
        self.dashboard = Dashboard(
            status=self.status,
            rows=self.rows,
            verdicts=lambda: {"redirect_envoy": self.looks},
            live=self.live,
            fastpath=self.stats,
            pairs=Pairs(),
            envoy=self.ask_envoy,
            services=dict,
            sandboxes=dict,
            clock=self.clock,
        )

    async def stats(self) -> RelayStats:
        return RelayStats()

    async def status(self, _: Mapping[str, str]) -> Any:
        self.looks += 1
        return {"node": "n", "pods": [{"name": "a", "netns_cookie": 7}, {"name": "b", "netns_cookie": 8}]}

    async def rows(self, _: Mapping[str, str]) -> Any:
        return [{"netns_cookie": 7, "envoy4": 4000}]

    def live(self) -> Mapping[FlowGroup, int]:
        self.walks += 1
        self.clock.advance(self.slow)
        return {FlowGroup(7, Tier.ENVOY, 1): self.walks}

    async def ask_envoy(self, path: str) -> str:
        assert path.startswith("/stats?")
        if not self.envoy:
            raise Transient("Envoy admin", "no answer")
        return self.envoy

    async def figures(self) -> dict[str, Any]:
        return await self.dashboard.figures({})


async def test_pages_share_one_look() -> None:
    plane = DataPlane()
    first, second = await asyncio.gather(plane.figures(), plane.figures())
    assert (first is second, plane.looks) == (True, 1)
    plane.clock.advance(FRESH + 0.1)
    assert (await plane.figures())["verdicts"][0]["rate"] is not None
    assert plane.looks == 2


async def test_a_pod_is_shown_with_the_row_that_the_kernel_has_of_it() -> None:
    pods = (await DataPlane().figures())["pods"]
    assert [(p["name"], p["kernel"] and p["kernel"]["envoy4"]) for p in pods] == [("a", 4000), ("b", None)]


async def test_envoy_away_is_told_and_costs_nothing_else() -> None:
    plane = DataPlane()
    plane.envoy = ""
    told = await plane.figures()
    assert (told["http"], told["envoy_silent"], told["totals"]["live"]) == (None, "no answer", 1)
    plane.envoy = "not JSON"
    plane.clock.advance(2)
    assert (await plane.figures())["envoy_silent"]
    plane.envoy = '{"stats": []}'
    plane.clock.advance(2)
    assert ((await plane.figures())["envoy_silent"], (await plane.figures())["http"]) == ("", [])


async def test_a_large_flow_table_is_walked_less_often() -> None:
    plane = DataPlane(slow=0.5)
    seen = []
    for _ in range(8):
        seen.append((await plane.figures())["totals"]["live"])
        plane.clock.advance(2)
    assert seen == [1, 1, 1, 1, 1, 2, 2, 2], f"a walk of 0.5 s is repeated after {0.5 * SHARE:g} s"
