"""What an agent tells who scrapes it: counters of its devices, asked for anew, and what became of connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tidegate.compile.facts import NOTHING
from tidegate.relay.events import RelayStats
from tidegate.telemetry.metrics import NewOfConnections
from tidegate.telemetry.scrape import AgentMetrics


class Kernel:
    def counters(self) -> Mapping[str, int]:
        return {"captured": 3}

    def flow_count(self) -> int:
        return 5


class Relay:
    def __init__(self) -> None:
        self.last = RelayStats()

    async def stats(self) -> RelayStats:
        self.last = replace(self.last, active=self.last.active + 1)
        return self.last


async def no_envoy(_: str) -> str:
    return '{"stats": [{"name": "tidegate.carried_opened.pod.1.service.db:1.endpoint.10.0.0.9:1", "value": 4}]}'


async def test_devices_are_asked_at_each_scrape_and_envoy_too() -> None:
    metrics = AgentMetrics(Kernel(), Relay(), lambda: {"registry": 2}, lambda: NOTHING, no_envoy)
    metrics.tcp.count(NewOfConnections(opened=1), ("", ""), ("", ""), "db:1")
    first, second = [(await metrics.exposition()).decode() for _ in range(2)]
    for line in (
        'tidegate_verdicts_total{reason="captured"} 3.0',
        'tidegate_dns_questions_total{answer="registry"} 2.0',
        "tidegate_captured_flows 5.0",
        "tidegate_fastpath_active_connections 1.0",
    ):
        assert line in first
    assert "tidegate_fastpath_active_connections 2.0" in second
    opened = [line for line in second.splitlines() if line.startswith("istio_tcp_connections_opened_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in opened) == 5, "one of the relay's, four of Envoy's, each once"
