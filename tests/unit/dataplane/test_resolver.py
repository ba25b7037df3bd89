"""Names behind TCP services: when they are asked, what stays while nobody answers, what the relay is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from tests.support.clock import ManualClock
from tests.support.configs import ENROLLED, config_of
from tests.support.dataplane import FakeNames, Node
from tests.support.eventually import HANG_SECONDS

from tidegate.dataplane.resolver import FIRST_SECONDS, SHORTEST_SECONDS, Resolver, lookup
from tidegate.runtime.worker import Worker

ONE, TWO = (ip_address("192.0.2.1"),), (ip_address("192.0.2.2"),)
MINUTE = 60_000  # milliseconds
OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [outside.example]
  addresses: [10.9.0.1]
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
"""


@asynccontextmanager
async def resolving(names: FakeNames, clock: ManualClock) -> AsyncIterator[Resolver]:
    worker = Worker("names")
    resolver = Resolver(worker, clock, lambda: 0.0, names.ask)
    task = asyncio.create_task(resolver.run())
    try:
        async with asyncio.timeout(HANG_SECONDS):
            yield resolver
    except TimeoutError:
        raise AssertionError(f"not within {HANG_SECONDS:.0f} s; it sleeps {clock.waiting()} s") from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        worker.close()


async def asleep(clock: ManualClock, seconds: float) -> None:
    """Until the resolver sleeps so long, or resolving() loses patience."""
    while True:
        if seconds in clock.waiting():
            return
        await asyncio.sleep(0)


async def test_a_name_is_asked_again_and_what_it_meant_stays_while_nobody_answers() -> None:
    names, clock = FakeNames(), ManualClock()
    names.known["a.example"] = ONE
    async with resolving(names, clock) as resolver:
        resolver.want(frozenset({"a.example"}), MINUTE)
        await resolver.resolved.newer(0)
        assert resolver.resolved.value == {"a.example": ONE}
        await asleep(clock, 60.0)
        del names.known["a.example"]
        clock.advance(60.0)
        await asleep(clock, FIRST_SECONDS)
        assert (len(names.asked), resolver.resolved.value) == (2, {"a.example": ONE})
        names.known["a.example"] = TWO
        clock.advance(FIRST_SECONDS)
        await resolver.resolved.newer(1)
        assert resolver.resolved.value == {"a.example": TWO}


async def test_the_mesh_says_how_often_a_name_is_asked_and_a_shorter_time_holds_at_once() -> None:
    names, clock = FakeNames(), ManualClock()
    names.known["a.example"] = ONE
    async with resolving(names, clock) as resolver:
        resolver.want(frozenset({"a.example"}), MINUTE)
        await asleep(clock, 60.0)
        resolver.want(frozenset({"a.example"}), 5000)
        await asleep(clock, 5.0)
        names.known["a.example"] = TWO
        clock.advance(5.0)
        await resolver.resolved.newer(1)
        assert (len(names.asked), resolver.resolved.value) == (2, {"a.example": TWO})
        await asleep(clock, 5.0)
        resolver.want(frozenset({"a.example"}), 2)
        await asleep(clock, SHORTEST_SECONDS)


async def test_a_name_that_nobody_wants_is_forgotten() -> None:
    names, clock = FakeNames(), ManualClock()
    names.known.update({"a.example": ONE, "b.example": TWO})
    async with resolving(names, clock) as resolver:
        resolver.want(frozenset({"a.example"}), MINUTE)
        await resolver.resolved.newer(0)
        resolver.want(frozenset({"b.example"}), MINUTE)
        await resolver.resolved.newer(1)
        assert resolver.resolved.value == {"b.example": TWO}


def test_a_name_that_means_this_machine_is_no_endpoint() -> None:
    """The relay dials inside the client's namespace, where loopback is the client itself."""
    assert lookup("localhost") == ()


def relayed(node: Node) -> list[str]:
    return [f"{e.address}:{e.port}" for service in node.cycle.plan.value.l4 for e in service.endpoints]


async def test_a_tcp_service_by_name_is_refused_until_its_name_is_known_and_then_served() -> None:
    node = Node(config_of(ENROLLED, OUTSIDE))
    async with node.running():
        await asleep(node.clock, FIRST_SECONDS)
        assert node.names.asked == ["outside.example"]
        assert not relayed(node)
        node.names.known["outside.example"] = ONE
        version = node.cycle.plan.version
        node.clock.advance(FIRST_SECONDS)
        async with asyncio.timeout(HANG_SECONDS):
            await node.cycle.plan.newer(version)
        assert relayed(node) == ["192.0.2.1:443"]


async def test_a_config_map_says_how_often_names_are_asked() -> None:
    rate = """
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: istio, namespace: istio-system}
    data:
      mesh: |
        dnsRefreshRate: 7s
    """
    node = Node(config_of(ENROLLED, OUTSIDE, rate))
    node.names.known["outside.example"] = ONE
    async with node.running():
        await asleep(node.clock, 7.0)
        assert relayed(node) == ["192.0.2.1:443"]
