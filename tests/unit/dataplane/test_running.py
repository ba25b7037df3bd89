"""Pods that run and that no CNI call told of: who is missed, and how often is looked."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from tests.support.clock import ManualClock
from tests.support.configs import ENROLLED, config_of, pod, sandbox
from tests.support.eventually import HANG_SECONDS

from tidegate.compile.facts import Facts, join
from tidegate.dataplane.running import FIRST_SECONDS, RunningPods, missed
from tidegate.enroll.running import RunningNetns
from tidegate.enroll.wire import CniRequest
from tidegate.errors import Transient
from tidegate.model.net import IPAddress
from tidegate.model.workload import Sandbox
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker

NODE, ADDRESS = "n", "10.0.0.2"
HERE = "spec: {nodeName: n, "


def here(name: str = "web", ip: str = ADDRESS) -> str:
    """A pod of this node that has an address."""
    return pod(name, "app: a", ip).replace("spec: {", HERE)


def facts_of(*texts: str, sandboxes: tuple[Sandbox, ...] = ()) -> Facts:
    return join(config_of(*texts), sandboxes, node=NODE)


def names(facts: Facts) -> list[str]:
    return [one.id.name for one in missed(facts, NODE)]


def test_who_is_missed_is_to_be_in_the_mesh_has_an_address_here_and_no_sandbox() -> None:
    assert names(facts_of(ENROLLED, here())) == ["web"]
    assert names(facts_of(ENROLLED, here(), sandboxes=(sandbox("web", ADDRESS),))) == []
    assert names(facts_of(ENROLLED, pod("web", "app: a", ADDRESS).replace("spec: {", "spec: {nodeName: m, "))) == []
    assert names(facts_of(here())) == [], "its namespace has no label"
    assert names(facts_of(ENROLLED, here().replace("app: a", "istio.io/dataplane-mode: none"))) == []
    assert names(facts_of(ENROLLED, here().replace("nodeName: n", "nodeName: n, hostNetwork: true"))) == []
    assert names(facts_of(ENROLLED, re.sub(r"podIPs: \[[^]]*\]", "podIPs: []", here()))) == [], "is not attached yet"


def test_a_pod_that_ends_is_not_missed() -> None:
    """Its runtime says DEL before the cluster forgets it."""
    deleted = here().replace("labels:", 'deletionTimestamp: "2026-11-27T12:00:00Z", labels:')
    assert names(facts_of(ENROLLED, deleted)) == []
    assert names(facts_of(ENROLLED, here().replace("status: {", "status: {phase: Succeeded, "))) == []


class Host:
    """Namespaces of a node, and what became of those that were found."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[IPAddress, ...]] = {}
        self.error: OSError | None = None
        self.refusal: Transient | None = None
        self.looks: list[Collection[IPAddress]] = []
        self.taken: list[CniRequest] = []
        self.swept = 0

    def having(self, wanted: Collection[IPAddress]) -> list[RunningNetns]:
        self.looks.append(wanted)
        if self.error:
            raise self.error
        fitting = {name: ips for name, ips in self.named.items() if set(ips) & set(wanted)}
        return [
            RunningNetns(Path("/run/netns") / name, _nothing(), cookie, frozenset(ips))
            for cookie, (name, ips) in enumerate(fitting.items(), 7)
        ]

    async def take_up(self, request: CniRequest) -> None:
        if self.refusal:
            raise self.refusal
        self.taken.append(request)

    async def sweep(self) -> None:
        self.swept += 1


def _nothing() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class World:
    def __init__(self) -> None:
        self.host, self.clock, self.facts = Host(), ManualClock(), Latest(facts_of(ENROLLED))
        threads = Worker("test")
        host = self.host
        self.running = RunningPods(
            NODE, self.facts, host.having, host.take_up, host.sweep, threads, self.clock, lambda: 0.0
        )

    @property
    def reasons(self) -> dict[str, str]:
        return {str(one.pod): one.reason for one in self.running.uncaptured()}

    def turn(self) -> None:
        """Let the time come for which somebody waits."""
        for seconds in self.clock.waiting()[:1]:
            self.clock.advance(seconds)

    async def looked(self, times: int) -> None:
        """Until so many looks were in vain."""
        await reached(lambda: len(self.host.looks) >= times and self.clock.waiting(), self.turn)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    task = asyncio.create_task(made.running.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reached(what: Callable[[], object], turn: Callable[[], None] = lambda: None) -> None:
    """Until what is true; nothing here takes time. turn: called each time when it is not."""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not what():
                turn()
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(f"not within {HANG_SECONDS:.0f} s") from None


async def until(world: World, *texts: str, sandboxes: tuple[Sandbox, ...] = ()) -> None:
    await world.facts.set(facts_of(*texts, sandboxes=sandboxes))


async def eventually_taken(world: World) -> CniRequest:
    await reached(lambda: world.host.taken, world.turn)
    return world.host.taken[0]


async def test_a_pod_is_found_when_the_cluster_says_that_it_runs() -> None:
    async with world() as made:
        made.host.named["cni-1"] = (ip_address(ADDRESS),)
        await until(made, ENROLLED, here())
        asked = await eventually_taken(made)
        assert (str(asked.pod), asked.netns_path, asked.ips) == (
            "default/web",
            "/run/netns/cni-1",
            (ip_address(ADDRESS),),
        )
        assert (asked.container_id, asked.kubernetes) == ("found-7", True)
        assert made.reasons == {}


async def test_a_namespace_that_gets_its_name_later_is_found_later() -> None:
    async with world() as made:
        await until(made, ENROLLED, here())
        await made.looked(2)
        made.host.named["cni-1"] = (ip_address(ADDRESS),)
        await eventually_taken(made)
        assert made.reasons == {}


async def test_who_has_no_namespace_is_named_after_the_second_look() -> None:
    """A sandbox that is made anew has none for a moment."""
    async with world() as made:
        await until(made, ENROLLED, here())
        await reached(made.clock.waiting)
        assert made.reasons == {}
        assert made.clock.waiting() == [FIRST_SECONDS]
        await made.looked(2)
        why = f"no CNI call told of it, and no network namespace of this node has {ADDRESS}; delete the pod"
        assert made.reasons == {"default/web": why}
        await until(made, ENROLLED, here(), sandboxes=(sandbox("web", ADDRESS),))
        await reached(lambda: not made.reasons)


async def test_two_namespaces_with_one_address_are_not_guessed_among() -> None:
    async with world() as made:
        made.host.named |= {"cni-1": (ip_address(ADDRESS),), "cni-2": (ip_address(ADDRESS),)}
        await until(made, ENROLLED, here())
        await reached(lambda: made.reasons or made.host.taken)
        assert made.host.taken == []
        assert (
            "several network namespaces have 10.0.0.2: /run/netns/cni-1, /run/netns/cni-2"
            in made.reasons["default/web"]
        )


async def test_what_stands_in_the_way_is_the_reason() -> None:
    async with world() as made:
        made.host.error = PermissionError(13, "Permission denied", "/run/netns")
        await until(made, ENROLLED, here())
        await made.looked(1)
        assert "cannot be looked for: [Errno 13] Permission denied" in made.reasons["default/web"]
        made.host.error, made.host.named["cni-1"] = None, (ip_address(ADDRESS),)
        made.host.refusal = Transient("sandbox of pod default/web", "cannot be recorded: No space left on device")
        await made.looked(2)
        assert "No space left on device" in made.reasons["default/web"]
        made.host.refusal = None
        await eventually_taken(made)


async def test_one_look_is_for_all_and_nobody_looks_where_nobody_is_missed() -> None:
    async with world() as made:
        await until(made, ENROLLED, here(), here("other", "10.0.0.3"))
        await made.looked(1)
        assert made.host.looks[0] == {ip_address(ADDRESS), ip_address("10.0.0.3")}
        await until(made, ENROLLED)
        await reached(lambda: not made.clock.waiting())
        assert made.host.swept == 0


async def test_a_pod_that_was_found_and_is_gone_from_the_cluster_is_swept() -> None:
    """A runtime that goes by the configuration of its ADD says no DEL for it."""
    async with world() as made:
        left = replace(sandbox("web", ADDRESS), container_id="found-7")
        await until(made, ENROLLED, sandboxes=(left,))
        await reached(lambda: made.host.swept)
