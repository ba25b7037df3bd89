"""Who waits for whom: nothing blocks the event loop, and no pod waits for another."""

from __future__ import annotations

import asyncio
import threading

from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, sandbox
from tests.support.eventually import HANG_SECONDS

from tidegate.model.status import PodState

PODS = 50


async def test_a_table_that_hangs_does_not_hold_up_the_event_loop() -> None:
    """The longest stall of the loop is judged by what happens meanwhile: each call hangs until the loop, which counts
    its own turns, lets it go."""
    config = config_of(
        ENROLLED,
        service("db", "tcp:5432", ips="10.96.0.5"),
        pod("db-1", "app: db", "10.0.0.50"),
        pod("client", "app: client"),
        pod("x", "a: b"),
    )
    node = Node(config, sandbox("client", 42, "10.0.0.1"))
    entered, leave, turns = asyncio.Queue[str](), threading.Semaphore(0), 0
    loop = asyncio.get_running_loop()

    def slow(call: str) -> None:
        loop.call_soon_threadsafe(entered.put_nowait, call)
        assert leave.acquire(timeout=HANG_SECONDS), f"{call} held up the event loop"

    node.tables.slow = slow
    running = asyncio.create_task(node.cycle.run())
    seen = []
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while "set_pod" not in seen:
                seen.append(await entered.get())
                for _ in range(100):
                    await asyncio.sleep(0)
                    turns += 1
                leave.release()
            assert (await node.cycle.settling.settled(42, HANG_SECONDS)).state is PodState.ENROLLED  # type: ignore[union-attr]
    finally:
        node.tables.slow = lambda _: None
        leave.release(1000)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        node.inside.close()
    assert {"destinations", "pods", "lookups", "inbound", "set_destinations", "attach_lookup", "set_pod"} <= set(seen)
    assert turns == 100 * len(seen)


async def test_a_pod_outside_the_mesh_is_answered_before_anything_else_is_done() -> None:
    node = Node(config_of(ENROLLED, pod("client", "app: client"), pod("plain", "istio.io/dataplane-mode: none")))
    async with node.running():
        leave = threading.Event()
        calls: list[str] = []

        def slow(call: str) -> None:
            calls.append(call)
            assert leave.wait(HANG_SECONDS), "the event loop was held up"

        node.tables.slow = slow
        node.cycle.set_sandboxes([sandbox("client", 42), sandbox("plain", 50)])
        verdict = await node.cycle.settling.settled(50, HANG_SECONDS)
        assert verdict is not None
        assert (verdict.state, 42 in node.tables.rows) == (PodState.NOT_ENROLLED, False)
        leave.set()
        assert (await node.cycle.settling.settled(42, HANG_SECONDS)).state is PodState.ENROLLED  # type: ignore[union-attr]


async def test_fifty_pods_at_once_are_one_burst() -> None:
    pods = [pod(f"p{n}", f"app: p{n}") for n in range(PODS)]
    node = Node(config_of(ENROLLED, service("web", "http:80", ips="10.96.0.6"), *pods))
    async with node.running():
        before = node.cycle.plan.value.generation
        node.cycle.set_sandboxes([sandbox(f"p{n}", 100 + n, f"10.0.0.{n + 1}") for n in range(PODS)])
        verdicts = await asyncio.gather(*(node.cycle.settling.settled(100 + n, HANG_SECONDS) for n in range(PODS)))
        assert {verdict.state for verdict in verdicts if verdict} == {PodState.ENROLLED}
        await node.calm()
        assert len(node.tables.rows) == PODS
        assert node.cycle.plan.value.generation - before <= 1 + PODS / 4, "compilations are shared"
        assert node.tables.count("set_pod") == PODS


async def test_who_waits_for_one_pod_is_woken_by_that_pod_only() -> None:
    node = Node(config_of(ENROLLED, pod("a", "app: a"), pod("b", "app: b")))
    node.inside.gone.add(42)
    async with node.running():
        waiting = asyncio.create_task(node.cycle.settling.settled(42, HANG_SECONDS))
        await node.attach(sandbox("a", 42), sandbox("b", 43))
        assert node.pod("b").state is PodState.ENROLLED  # type: ignore[union-attr]
        assert not waiting.done()
        node.inside.gone.clear()
        await node.later(1.0)
        assert (await waiting).state is PodState.ENROLLED  # type: ignore[union-attr]


async def test_time_that_is_up_gives_the_last_word() -> None:
    node = Node(config_of(ENROLLED, pod("a", "app: a")), sandbox("a", 42), sandbox("nobody", 43))
    node.inside.gone.add(42)
    async with node.running():
        last = await node.cycle.settling.settled(42, 0.0)
        assert last is not None
        assert last.state is PodState.FAILED
        assert "No such file" in last.reason
        pending = await node.cycle.settling.settled(43, 0.0)
        assert pending is not None
        assert pending.state is PodState.PENDING
        assert await node.cycle.settling.settled(99, 0.0) is None


async def test_a_pod_that_is_slow_to_close_keeps_nobody_waiting() -> None:
    """A namespace that is being taken down answers late; a crash loop takes down one after the other."""
    node = Node(config_of(ENROLLED, pod("a", "app: a"), pod("b", "app: b")), sandbox("a", 42))
    closed, closing = threading.Event(), asyncio.Event()
    try:
        async with node.running():
            node.inside.stuck[42] = closed
            node.relay.removed = closing.set
            await node.detach(42)
            async with asyncio.timeout(HANG_SECONDS):
                await closing.wait()  # or the other might be enrolled before anybody could wait
            node.sandboxes = [sandbox("b", 43)]
            node.cycle.set_sandboxes(node.sandboxes)
            other = await node.cycle.settling.settled(43, HANG_SECONDS)
            assert other is not None
            assert other.state is PodState.ENROLLED
            assert not node.cycle.idle, "it is still being closed"
            closed.set()
            await node.calm()
            assert set(node.relay.listening) == {43}
    finally:
        closed.set()


async def test_a_pod_that_comes_back_while_it_is_closed_is_opened_after_that() -> None:
    node = Node(config_of(ENROLLED, pod("a", "app: a"), pod("b", "app: b")), sandbox("a", 42))
    closed, closing = threading.Event(), asyncio.Event()
    try:
        async with node.running():
            node.inside.stuck[42] = closed
            node.relay.removed = closing.set
            await node.detach(42)
            async with asyncio.timeout(HANG_SECONDS):
                await closing.wait()
            before = node.inside.prepared.count(42)
            node.sandboxes = [sandbox("a", 42), sandbox("b", 43)]
            node.cycle.set_sandboxes(node.sandboxes)
            assert (await node.cycle.settling.settled(43, HANG_SECONDS)).state is PodState.ENROLLED  # type: ignore[union-attr]
            assert node.inside.prepared.count(42) == before
            closed.set()
            assert (await node.cycle.settling.settled(42, HANG_SECONDS)).state is PodState.ENROLLED  # type: ignore[union-attr]
            await node.calm()
            assert set(node.relay.listening) == {42, 43}
    finally:
        closed.set()


async def test_a_pod_that_comes_is_planned_for_when_it_is_open_and_not_before() -> None:
    node = Node(config_of(ENROLLED, pod("a", "app: a"), pod("b", "app: b")), sandbox("a", 42))
    opened = threading.Event()
    try:
        async with node.running():
            await node.calm()
            before, seen = node.cycle.plan.value.generation, node.cycle.facts.version
            node.inside.stuck[43] = opened
            node.sandboxes = [sandbox("a", 42), sandbox("b", 43)]
            node.cycle.set_sandboxes(node.sandboxes)
            async with asyncio.timeout(HANG_SECONDS):
                await node.cycle.facts.newer(seen)
            opened.set()
            assert (await node.cycle.settling.settled(43, HANG_SECONDS)).state is PodState.ENROLLED  # type: ignore[union-attr]
            assert node.cycle.plan.value.generation == before + 1
    finally:
        opened.set()


async def test_a_pod_that_cannot_be_closed_is_told_once() -> None:
    node = Node(config_of(ENROLLED, pod("a", "app: a")), sandbox("a", 42))
    async with node.running():
        node.inside.broken.add(42)
        await node.detach(42)
        await node.calm()
        assert [why for _, why in node.failures("relay")] == [
            "closing its capture listeners: [Errno 1] Operation not permitted"
        ]
        node.cycle.set_sandboxes([])
        await node.calm()
        assert node.failures("relay") == []
