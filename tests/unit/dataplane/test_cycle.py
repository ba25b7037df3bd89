"""The cycle with devices in memory: what it reports and in which order it acts when something refuses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.eventually import HANG_SECONDS

from tidegate.bpf.records import PodRow
from tidegate.compile.listeners import listener_name
from tidegate.dataplane.cycle import Cycle
from tidegate.errors import Rejected
from tidegate.linux.netns import Netns
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.plan.kernel import Destination, DestinationKey
from tidegate.model.plan.relay import L4Service
from tidegate.model.status import Failure, Status
from tidegate.model.tier import Tier
from tidegate.model.workload import Capture, Sandbox
from tidegate.runtime.latest import Latest

T = TypeVar("T")
CONFIG = config_of(
    ENROLLED,
    service("db", "tcp:5432", ips="10.96.0.5"),
    pod("db", "app: db", "10.0.0.2"),
    pod("client", "app: client", "10.0.0.1"),
)
WITH_HTTP = config_of(
    ENROLLED,
    service("web", "http:80", ips="10.96.0.6"),
    pod("web", "app: web", "10.0.0.3"),
    pod("client", "app: client"),
)
# A pod whose network namespace cannot be entered (see gone).
GONE = Sandbox(WorkloadId("default", "client"), "c1", "/nonexistent/netns", 42, (ip_address("10.0.0.1"),))


class Tables:
    """tg_pods and tg_dests with a bound, as the kernel has one."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.rows: dict[int, PodRow] = {}
        self.dests: dict[DestinationKey, tuple[Tier, int]] = {}

    def pods(self) -> dict[int, PodRow]:
        return dict(self.rows)

    def set_pod(self, cookie: int, row: PodRow) -> None:
        self.rows[cookie] = row

    def delete_pod(self, cookie: int) -> None:
        del self.rows[cookie]

    def destinations(self) -> dict[DestinationKey, tuple[Tier, int]]:
        return dict(self.dests)

    def set_destinations(self, rows: Iterable[Destination]) -> None:
        for row in rows:
            if len(self.dests) >= self.room and row.key not in self.dests:
                raise OSError(7, "Argument list too long")
            self.dests[row.key] = (row.tier, row.service)

    def delete_destinations(self, keys: Iterable[DestinationKey]) -> None:
        for key in keys:
            self.dests.pop(key, None)

    def attach_lookup(self, cookie: int, netns_fd: int) -> None:
        raise AssertionError("no netns to attach to")

    def detach_lookup(self, cookie: int) -> None:
        pass

    def lookups(self) -> set[int]:
        return set()


class Relay:
    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.published: list[int] = []
        self.services: Sequence[L4Service] = ()

    def add_pod(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]:
        return 1, 2

    def remove_pod(self, cookie: int) -> None:
        pass

    def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        if self.refusal:
            raise self.refusal
        self.published.append(len(services))
        self.services = services


class Envoy:
    def __init__(self, answers: bool = True, rejected: Sequence[Failure] = ()) -> None:
        self.answers = answers
        self._rejected = rejected
        self.told: Callable[[], None] = lambda: None  # called when a configuration comes

    async def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None:
        self.told()

    async def wait_applied(self, generation: int, timeout: float) -> bool:
        return self.answers

    def rejected(self) -> Sequence[Failure]:
        return self._rejected


def in_netns(_fd: int, fn: Callable[[], T]) -> T:
    return fn()


def gone(_cookie: int) -> Netns:
    raise FileNotFoundError(2, "No such file or directory")


def own(cookie: int) -> Netns:
    return Netns(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC), cookie, Path("/proc/self/ns/net"))


async def one_pass(
    tables: Tables,
    relay: Relay,
    envoy: Envoy,
    config: Mesh,
    *sandboxes: Sandbox,
    inside: Callable[[int, Callable[[], Any]], Any] = in_netns,
    netns: Callable[[int], Netns] = gone,
) -> Status:
    latest: Latest[Mesh | None] = Latest(None)
    cycle = Cycle(
        node="n",
        config=latest,
        tables=tables,
        relay=relay,
        envoy=envoy,
        in_netns=inside,
        netns=netns,
        captured=lambda _: None,
    )
    cycle.set_sandboxes(sandboxes)
    running = asyncio.create_task(cycle.run())
    try:
        await latest.set(config)
        async with asyncio.timeout(HANG_SECONDS):
            _, status = await cycle.status.newer(0)
        return status
    finally:
        running.cancel()


async def test_nothing_is_touched_before_the_first_configuration() -> None:
    tables = Tables()
    tables.rows[7] = PodRow()
    cycle = Cycle(
        node="n",
        config=Latest(None),
        tables=tables,
        relay=Relay(),
        envoy=Envoy(),
        in_netns=in_netns,
        netns=gone,
        captured=lambda _: None,
    )
    cycle.set_sandboxes(())
    running = asyncio.create_task(cycle.run())
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    assert tables.rows == {7: PodRow()}


async def test_destinations_reach_the_kernel_and_strangers_leave_it() -> None:
    tables = Tables()
    tables.rows[7] = PodRow()
    tables.dests[DestinationKey(ip_address("10.96.9.9"), 1)] = (Tier.FASTPATH, 9)
    status = await one_pass(tables, Relay(), Envoy(), CONFIG)
    assert tables.rows == {}
    assert tables.dests[DestinationKey(ip_address("10.96.0.5"), 5432)][0] is Tier.FASTPATH
    assert DestinationKey(ip_address("10.96.9.9"), 1) not in tables.dests
    assert not any(a.failures for a in status.appliers.values())


def speaking(protocol: str) -> Mesh:
    """One service, whose port is of this protocol."""
    return config_of(ENROLLED, service("web", f"{protocol}:80", ips="10.96.0.6"), pod("web", "app: web", "10.0.0.3"))


@pytest.mark.parametrize(
    ("before", "after", "while_envoy_is_told"),
    [("tcp", "http", Tier.FASTPATH), ("http", "tcp", Tier.FASTPATH), ("http", "", None)],
)
async def test_a_port_that_changes_its_tier_is_served_at_each_moment(
    before: str, after: str, while_envoy_is_told: Tier | None
) -> None:
    """Rows point to the fast path only while it knows the service, and to Envoy only while Envoy has the listener."""
    tables, relay, envoy = Tables(), Relay(), Envoy()
    key = DestinationKey(ip_address("10.96.0.6"), 80)
    latest: Latest[Mesh | None] = Latest(speaking(before))
    cycle = Cycle(
        node="n",
        config=latest,
        tables=tables,
        relay=relay,
        envoy=envoy,
        in_netns=in_netns,
        netns=gone,
        captured=lambda _: None,
    )
    cycle.set_sandboxes(())
    running = asyncio.create_task(cycle.run())
    try:
        version, _ = await cycle.status.newer(0)
        seen: list[tuple[Tier | None, bool]] = []
        envoy.told = lambda: seen.append((tables.dests.get(key, (None, 0))[0], key[:2] in served()))

        def served() -> set[tuple[IPAddress, int]]:
            return {address for s in relay.services for address in s.addresses}

        await latest.set(speaking(after) if after else config_of(ENROLLED))
        async with asyncio.timeout(HANG_SECONDS):
            await cycle.status.newer(version)
    finally:
        running.cancel()
    assert seen == [(while_envoy_is_told, while_envoy_is_told is Tier.FASTPATH)]
    assert tables.dests.get(key, (None, 0))[0] is {"http": Tier.ENVOY, "tcp": Tier.FASTPATH}.get(after)


async def test_an_address_that_another_service_takes_over_is_the_new_ones_at_once() -> None:
    tables, relay = Tables(), Relay()
    latest: Latest[Mesh | None] = Latest(config_of(ENROLLED, service("old", "tcp:80", ips="10.96.0.6")))
    cycle = Cycle(
        node="n",
        config=latest,
        tables=tables,
        relay=relay,
        envoy=Envoy(),
        in_netns=in_netns,
        netns=gone,
        captured=lambda _: None,
    )
    cycle.set_sandboxes(())
    running = asyncio.create_task(cycle.run())
    try:
        version, _ = await cycle.status.newer(0)
        await latest.set(config_of(ENROLLED, service("new", "tcp:80", ips="10.96.0.6")))
        async with asyncio.timeout(HANG_SECONDS):
            await cycle.status.newer(version)
    finally:
        running.cancel()
    assert [s.name for s in relay.services] == ["new.default.svc.cluster.local:80"]


async def test_a_full_table_is_reported_and_the_other_rows_are_in_force() -> None:
    tables = Tables(room=2)
    status = await one_pass(tables, Relay(), Envoy(), CONFIG)
    assert len(tables.dests) == 2
    assert [f.item.startswith("destination") for f in status.appliers["kernel"].failures] == [True]


@pytest.mark.parametrize("refusal", [Rejected("services", "two claim one address"), OSError(12, "no memory")])
async def test_a_refusing_fast_path_does_not_hold_up_the_rest(refusal: Exception) -> None:
    tables = Tables()
    status = await one_pass(tables, Relay(refusal), Envoy(), CONFIG)
    assert str(refusal) in status.appliers["fastpath"].failures[0].reason
    assert DestinationKey(ip_address("10.96.0.5"), 5432) in tables.dests


async def test_a_silent_envoy_is_reported() -> None:
    status = await one_pass(Tables(), Relay(), Envoy(answers=False), CONFIG)
    assert [f.reason for f in status.appliers["envoy"].failures] == ["no answer within 3 s"]
    assert status.appliers["envoy"].generation == 0


async def test_what_envoy_refuses_is_reported_with_its_source() -> None:
    failure = Failure("web.default.svc.cluster.local:80", "envoy: no such thing", ("VirtualService default/web",))
    status = await one_pass(Tables(), Relay(), Envoy(rejected=[failure]), CONFIG)
    assert status.appliers["envoy"].failures == (failure,)


async def test_a_pod_whose_listener_envoy_refuses_is_not_captured() -> None:
    """It would lose its HTTP: nobody listens where its connections are sent."""
    # With Envoy's ports of an earlier life nothing has to be done inside of the namespace but to prepare its lo.
    ports = Capture(envoy4=5, envoy6=6)
    here = Sandbox(WorkloadId("default", "client"), "c1", "/proc/self/ns/net", 42, (ip_address("10.0.0.1"),), ports)
    listener = listener_name(here)
    tables = Tables()
    refusing = Envoy(rejected=[Failure(listener, "envoy: cannot bind")])
    status = await one_pass(tables, Relay(), refusing, WITH_HTTP, here, inside=lambda _fd, _fn: True, netns=own)
    expected = (here.id, "failed", f"Envoy rejected {listener}, see status of envoy")
    assert [(p.id, p.state, p.reason) for p in status.pods] == [expected]
    assert tables.rows == {}


async def test_an_error_nobody_thought_of_does_not_end_the_agent() -> None:
    status = await one_pass(Tables(), Relay(ZeroDivisionError("oops")), Envoy(), CONFIG)
    assert status.appliers["cycle"].failures[0].reason == "ZeroDivisionError: oops"


async def test_a_pod_whose_netns_is_gone_fails_alone() -> None:
    unknown = Sandbox(WorkloadId("default", "new"), "c2", "/nonexistent/other", 43, ())
    status = await one_pass(Tables(), Relay(), Envoy(), CONFIG, GONE, unknown)
    states = {p.id.name: p.state for p in status.pods}
    assert states == {"client": "failed", "new": "pending"}
    assert status.appliers["kernel"].generation == 1
