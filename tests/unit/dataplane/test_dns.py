"""What the node's DNS is told, and that nothing else waits for it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, at, sandbox

from tidegate.dataplane.appliers.dns import PATIENCE_SECONDS
from tidegate.dataplane.order import DNS
from tidegate.model.mesh import Mesh
from tidegate.model.status import PodState, State

WEB, API = "web.default.svc.cluster.local", "api.default.svc.cluster.local"


def serving(*names: str) -> Mesh:
    services = [service(name, "tcp:80", ips=f"10.96.0.{len(name)}{number}") for number, name in enumerate(names)]
    return config_of(ENROLLED, *services, pod("web", "app: web", "10.0.0.3"), pod("client", "app: client"))


async def test_it_knows_the_registry_and_the_enrolled_pods() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"), sandbox("stranger", 43, kubernetes=False))
    async with node.running():
        assert set(node.dns.names) == {WEB}
        assert node.dns.pods == {42: ("default", True)}
        assert node.dns.ports == {42: 20_042}, "it takes no other port from the pod's programs"
        await node.configure(serving("web", "api"))
        assert set(node.dns.names) == {WEB, API}
        await node.configure(serving("api"))
        assert set(node.dns.names) == {API}
        assert node.dns.told[0] == (1, 0, True)
        assert all(not whole for _, _, whole in node.dns.told[1:]), "only what changed"


async def test_nothing_is_told_when_nothing_changed() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        await node.later(400.0)
        assert len(node.dns.told) == 1


async def test_a_pod_that_goes_is_dropped() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        await node.detach(42)
        await node.calm()
        assert node.dns.pods == {}
        assert node.dns.slots == set()


async def test_a_new_process_is_told_everything_and_pods_that_live_keep_their_resolvers() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        node.dns.slots.add(7)  # of a pod that went while no agent ran
        await node.dns.end()
        await node.calm()
        (outcome,) = node.status.appliers[DNS].outcomes
        assert outcome.state is State.PENDING
        await node.configure(serving("web", "api"))
        await node.dns.restart()
        await node.calm()
        assert set(node.dns.names) == {WEB, API}
        assert node.dns.pods == {42: ("default", True)}
        assert node.dns.slots == {42}
        assert not node.status.appliers[DNS].outcomes


async def test_nobody_waits_for_one_that_is_away() -> None:
    node = Node(serving("web"))
    await node.dns.end()
    async with node.running():
        await node.attach(sandbox("client", 42, "10.0.0.1"))
        enrolled = node.pod("client")
        assert enrolled is not None
        assert enrolled.state is PodState.ENROLLED
        assert node.status.generation == node.cycle.plan.value.generation


async def test_nobody_waits_for_one_that_hangs() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        node.dns.hangs = asyncio.Event()
        await node.configure(serving("web", "api"))
        assert at("10.96.0.31", 80) in node.tables.dests, "its address leads somewhere already"
        assert API not in node.dns.names
        (outcome,) = node.status.appliers[DNS].outcomes
        assert outcome.state is State.PENDING
        node.dns.hangs.set()
        await node.calm()
        assert API in node.dns.names
        assert not node.status.appliers[DNS].outcomes


async def test_an_enrolment_waits_for_its_own_pod_and_for_no_other_and_not_for_long() -> None:
    node = Node(serving("web"))
    async with node.running():
        node.dns.hangs = asyncio.Event()
        await node.attach(sandbox("client", 42, "10.0.0.1"))
        waiting = node.pod("client")
        assert waiting is not None
        assert waiting.state is PodState.PENDING
        assert "DNS" in waiting.reason
        before = node.status.generation
        await node.attach(sandbox("stranger", 43, kubernetes=False))
        other = node.pod("stranger")
        assert other is not None
        assert other.state is PodState.NOT_ENROLLED, "a pass that waits for a pod keeps everybody waiting"
        assert node.status.generation > before
        await node.later(PATIENCE_SECONDS)
        enrolled = node.pod("client")
        assert enrolled is not None
        assert enrolled.state is PodState.ENROLLED
        node.dns.hangs.set()
        await node.calm()
        assert set(node.dns.pods) == {42}


async def test_an_enrolled_pod_can_ask_at_once() -> None:
    node = Node(serving("web"))
    async with node.running():
        node.dns.hangs = asyncio.Event()
        await node.attach(sandbox("client", 42, "10.0.0.1"))
        node.dns.hangs.set()
        await node.calm()
        enrolled = node.pod("client")
        assert enrolled is not None
        assert enrolled.state is PodState.ENROLLED
        assert node.dns.pods == {42: ("default", True)}


async def test_a_pod_in_which_it_cannot_listen_is_captured_and_named_and_tried_again() -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    node.dns.refused = {42}
    async with node.running():
        captured = node.pod("client")
        assert captured is not None
        assert captured.state is PodState.ENROLLED
        ((item, reason),) = node.failures(DNS)
        assert item == "pod default/client"
        assert "its own resolver" in reason
        node.dns.refused = set()
        await node.later(1.0)
        assert node.failures(DNS) == []
        assert 42 in node.dns.pods


@pytest.mark.parametrize("refused", [True, False])
async def test_a_pod_that_goes_while_it_cannot_be_served_is_forgotten(refused: bool) -> None:
    node = Node(serving("web"), sandbox("client", 42, "10.0.0.1"))
    node.dns.refused = {42} if refused else set()
    async with node.running():
        await node.detach(42)
        await node.calm()
        assert node.failures(DNS) == []
