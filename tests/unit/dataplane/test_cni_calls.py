"""What the calls of a runtime, or their absence, mean to the data plane."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest
from tests.support.clock import ManualClock
from tests.support.configs import ENROLLED, config_of, pod
from tests.support.dataplane import Node, sandbox
from tests.support.eventually import HANG_SECONDS

from tidegate.dataplane.cni_calls import SWEEP_SECONDS, CniCalls
from tidegate.dataplane.turns import CALM_SECONDS
from tidegate.enroll.crash_loops import APART_SECONDS, FAST_SANDBOXES, SANDBOXES, CrashLoop, CrashLoops
from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.enroll.wire import CniRequest, Command, NotServing
from tidegate.errors import Transient
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Sandbox
from tidegate.runtime.worker import Worker

STATUS = CniRequest(Command.STATUS, "", "", -1, "", WorkloadId("", ""), False, (), "1.1.0")


class FakeRegistry:
    """Of which the runtime has removed some."""

    def __init__(self, *known: Sandbox) -> None:
        self.known = list(known)
        self.lost: list[Sandbox] = []
        self.coming: list[Sandbox] = []  # known when they are added
        self.has_unused = False
        self.there = True  # whether namespaces are where the runtime says
        self.looked = 0
        self.leaving, self.left = threading.Event(), threading.Event()

    def add(self, request: CniRequest) -> Sandbox:
        self.known += [sandbox for sandbox in self.coming if sandbox.container_id == request.container_id]
        self.coming = [sandbox for sandbox in self.coming if sandbox not in self.known]
        return next(sandbox for sandbox in self.known if sandbox.container_id == request.container_id)

    def look(self, request: CniRequest) -> tuple[int, bool]:
        self.looked += 1
        return next(s.netns_cookie for s in (*self.known, *self.coming) if self.is_of(s, request)), self.there

    def find(self, request: CniRequest) -> Sandbox | None:
        return next((s for s in self.known if self.is_of(s, request) and request.ifname in ("", "eth0")), None)

    @staticmethod
    def is_of(sandbox: Sandbox, request: CniRequest) -> bool:
        return sandbox.container_id == request.container_id

    def delete(self, request: CniRequest) -> Sandbox | None:
        gone = self.find(request)
        if gone is not None:
            self.known.remove(gone)
            self.has_unused = True
        return gone

    def let_go(self) -> None:
        """As long as the kernel likes."""
        self.leaving.set()
        assert self.left.wait(HANG_SECONDS)
        self.has_unused = False

    def sweep(self) -> tuple[Sandbox, ...]:
        gone, self.lost = tuple(self.lost), []
        self.known = [sandbox for sandbox in self.known if sandbox not in gone]
        return gone

    def all(self) -> tuple[Sandbox, ...]:
        return tuple(self.known)

    def knows(self, container_id: str) -> bool:
        return any(sandbox.container_id == container_id for sandbox in self.known)


def calls_of(
    registry: FakeRegistry,
    node: Node,
    clock: ManualClock,
    loops: CrashLoops | None = None,
    missing: Sequence[str] = (),
) -> CniCalls:
    loops, store = loops or CrashLoops(clock.monotonic), cast(SandboxStore, registry)
    return CniCalls(store, Worker("disk"), Worker("names"), node.cycle, lambda: missing, {"relay"}, loops, clock)


@pytest.mark.case("E2")
async def test_a_pod_whose_runtime_never_said_del_is_let_go() -> None:
    stays, goes = sandbox("stays", 1, "10.0.0.1"), sandbox("goes", 2, "10.0.0.2")
    node = Node(config_of(ENROLLED, pod("stays", "app: a"), pod("goes", "app: b")), stays, goes)
    registry, clock = FakeRegistry(stays, goes), ManualClock()
    calls = calls_of(registry, node, clock)
    async with node.running():
        sweeping = asyncio.create_task(calls.sweep())
        try:
            await node.calm()
            registry.lost = [goes]
            async with asyncio.timeout(HANG_SECONDS):
                while set(node.tables.rows) != {1}:
                    clock.advance(SWEEP_SECONDS)
                    await node.calm()
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)


async def test_nobody_waits_for_the_namespace_of_a_pod_that_goes() -> None:
    goes, comes = sandbox("goes", 1, "10.0.0.1"), sandbox("comes", 2, "10.0.0.2")
    node = Node(config_of(ENROLLED, pod("goes", "app: a"), pod("comes", "app: b")), goes)
    registry, clock = FakeRegistry(goes), ManualClock()
    registry.coming = [comes]
    calls = calls_of(registry, node, clock)
    async with node.running():
        await node.calm()
        going = asyncio.create_task(calls.delete(replace(STATUS, container_id=goes.container_id)))
        try:
            assert await asyncio.to_thread(registry.leaving.wait, HANG_SECONDS)
            async with asyncio.timeout(HANG_SECONDS):
                await calls.add(replace(STATUS, container_id=comes.container_id))
            assert set(node.tables.rows) == {2}
            assert not going.done(), "whose pod it was does wait"
        finally:
            registry.left.set()
            await going


async def test_who_comes_again_and_again_waits_and_nobody_for_him() -> None:
    fast, comes = sandbox("fast", 1, "10.0.0.1"), sandbox("comes", 2, "10.0.0.2")
    node = Node(config_of(ENROLLED, pod("fast", "app: a"), pod("comes", "app: b")))
    registry, clock = FakeRegistry(), ManualClock()
    registry.coming = [fast, comes]
    loops = CrashLoops(clock.monotonic)
    calls = calls_of(registry, node, clock, loops)
    for cookie in range(FAST_SANDBOXES):
        loops.came(fast.id, 100 + cookie)
    async with node.running():
        again = asyncio.create_task(calls.add(replace(STATUS, pod=fast.id, container_id=fast.container_id)))
        async with asyncio.timeout(HANG_SECONDS):
            await calls.add(replace(STATUS, pod=comes.id, container_id=comes.container_id))
        await node.calm()
        assert set(node.tables.rows) == {2}
        clock.advance(APART_SECONDS[0][1])
        await done(clock, again)
        assert set(node.tables.rows) == {1, 2}
        # The same sandbox again: no new one, and still nobody's hurry. Another interface of it is not late.
        again = asyncio.create_task(calls.add(replace(STATUS, pod=fast.id, container_id=fast.container_id)))
        await done(clock, again)
        async with asyncio.timeout(HANG_SECONDS):
            await calls.add(replace(STATUS, pod=fast.id, container_id=fast.container_id, ifname="net1"))


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        seen = False
        while not seen:
            await asyncio.sleep(0.0005)  # worker threads get their turn
            seen = reached()


async def done(clock: ManualClock, call: asyncio.Task[None]) -> None:
    """Until it is, with time going on; raises what it does."""

    def ended() -> bool:
        clock.advance(CALM_SECONDS)
        return call.done()

    await until(ended)
    await call


async def test_the_second_sandbox_of_a_pod_comes_after_others_and_so_does_its_end() -> None:
    first, second, comes = (sandbox(name, n, f"10.0.0.{n}") for n, name in ((1, "loop"), (3, "loop"), (2, "comes")))
    second, late = replace(second, container_id="second"), sandbox("late", 4, "10.0.0.4")
    node = Node(config_of(ENROLLED, *(pod(name, f"app: {name}") for name in ("loop", "comes", "late"))))
    registry, clock = FakeRegistry(), ManualClock()
    registry.coming = [first, second, comes, late]
    registry.left.set()
    calls = calls_of(registry, node, clock)
    async with node.running():
        async with asyncio.timeout(HANG_SECONDS):
            await calls.add(replace(STATUS, pod=first.id, container_id=first.container_id))
            await calls.delete(replace(STATUS, pod=first.id, container_id=first.container_id))
        again = asyncio.create_task(calls.add(replace(STATUS, pod=second.id, container_id="second")))
        await until(lambda: again.done() or registry.looked > 0)
        assert not again.done()
        async with asyncio.timeout(HANG_SECONDS):
            await calls.add(replace(STATUS, pod=comes.id, container_id=comes.container_id))
        await node.calm()
        assert set(node.tables.rows) == {2}
        await done(clock, again)
        assert set(node.tables.rows) == {2, 3}
        going = asyncio.create_task(calls.delete(replace(STATUS, pod=second.id, container_id="second")))
        await asyncio.sleep(0)  # it is heard, before the next one
        async with asyncio.timeout(HANG_SECONDS):
            await calls.add(replace(STATUS, pod=late.id, container_id=late.container_id))
        assert set(node.tables.rows) == {2, 3, 4}
        await done(clock, going)
        assert set(node.tables.rows) == {2, 4}


async def test_a_sandbox_that_goes_before_its_turn_costs_the_data_plane_nothing() -> None:
    loop = sandbox("loop", 1, "10.0.0.1")
    node = Node(config_of(ENROLLED, pod("loop", "app: a")))
    registry, clock = FakeRegistry(), ManualClock()
    registry.coming = [loop]
    loops = CrashLoops(clock.monotonic)
    loops.came(loop.id, 100)
    calls = calls_of(registry, node, clock, loops)
    async with node.running():
        again = asyncio.create_task(calls.add(replace(STATUS, pod=loop.id, container_id=loop.container_id)))
        await until(lambda: registry.looked > 0)
        registry.there = False
        await done(clock, asyncio.create_task(refused(again)))
        assert registry.known == []
        assert loops.patience(loop.id) == 0
        for cookie in range(SANDBOXES - 2):
            loops.came(loop.id, 200 + cookie)
        assert loops.all() == (CrashLoop(loop.id, SANDBOXES),), "it counts all the same"


@pytest.mark.parametrize(("ifname", "enrolled"), [("eth0", False), ("net1", True)])
async def test_an_add_that_its_runtime_took_back_before_its_turn_enrols_nobody(ifname: str, enrolled: bool) -> None:
    """Its namespace may be there for a moment longer, and nobody would ever say DEL again. That of another interface
    takes nothing back."""
    loop = sandbox("loop", 1, "10.0.0.1")
    node = Node(config_of(ENROLLED, pod("loop", "app: a")))
    registry, clock = FakeRegistry(), ManualClock()
    registry.coming = [loop]
    loops = CrashLoops(clock.monotonic)
    loops.came(loop.id, 100)
    calls = calls_of(registry, node, clock, loops)
    request = replace(STATUS, pod=loop.id, container_id=loop.container_id, ifname="eth0")
    async with node.running():
        again = asyncio.create_task(calls.add(request))
        await until(lambda: registry.looked > 0)
        gone = asyncio.create_task(calls.delete(replace(request, ifname=ifname)))
        await asyncio.sleep(0)  # it is heard
        await done(clock, again if enrolled else asyncio.create_task(refused(again)))
        await done(clock, gone)
        assert registry.known == [loop] * enrolled


async def refused(call: asyncio.Task[None]) -> None:
    with pytest.raises(Transient, match="went before it was its turn"):
        await call


@pytest.mark.case("E2")
@pytest.mark.parametrize(("missing", "limited"), [(["configuration"], False), (["configuration", "relay"], True)])
async def test_status_names_each_token_that_is_missing(missing: list[str], limited: bool) -> None:
    node, clock = Node(), ManualClock()
    calls = calls_of(FakeRegistry(), node, clock, missing=missing)
    with pytest.raises(NotServing, match=", ".join(missing)) as said:
        await calls.status(STATUS)
    assert said.value.limited is limited
    missing.clear()
    await calls.status(STATUS)
