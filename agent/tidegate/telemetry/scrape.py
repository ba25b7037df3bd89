"""What an agent tells whoever scrapes it, put together when somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from tidegate.compile.facts import Facts
from tidegate.relay.events import RelayStats
from tidegate.telemetry.carried import CarriedConnections
from tidegate.telemetry.flows import Clients
from tidegate.telemetry.metrics import AgentCollector, PolicyMetrics, TcpMetrics, exposition


class KernelCounters(Protocol):
    """Counters of the kernel's programs and tables."""

    def counters(self) -> Mapping[str, int]: ...
    def flow_count(self) -> int: ...


class RelayCounters(Protocol):
    """The fast path."""

    @property
    def last(self) -> RelayStats:
        """As stats() told last."""
        ...

    async def stats(self) -> RelayStats: ...


class AgentMetrics:
    """Counters that the devices keep, and what became of connections (tcp)."""

    def __init__(
        self,
        kernel: KernelCounters,
        relay: RelayCounters,
        questions: Callable[[], Mapping[str, int]],
        facts: Callable[[], Facts],
        envoy: Callable[[str], Awaitable[str]],
        more: Iterable[Collector] = (),
    ) -> None:
        """questions: of pods to the node's DNS, by who answered; envoy: as of CarriedConnections; more: who else tells
        something."""
        self._relay = relay
        self._registry = CollectorRegistry()
        self._registry.register(
            AgentCollector(
                kernel.counters,
                lambda: relay.last.closed,
                questions,
                lambda: {
                    "fastpath_active_connections": relay.last.active,
                    "fastpath_events_lost": relay.last.events_lost,
                    "fastpath_socket_bytes": relay.last.socket_bytes,
                    "captured_flows": kernel.flow_count(),
                },
            )
        )
        for collector in more:
            self._registry.register(collector)
        self.tcp = TcpMetrics(self._registry)
        self.policies = PolicyMetrics(self._registry)
        self._carried = CarriedConnections(self.tcp, facts, envoy, Clients().workload)

    async def exposition(self) -> bytes:
        """The text that /metrics serves."""
        await asyncio.gather(self._relay.stats(), self._carried.read())
        return await asyncio.to_thread(exposition, self._registry)
