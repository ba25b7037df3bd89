"""What was refused is tried again by its own back-off, without a new generation; the rest is left alone."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, at, sandbox

from tidegate.model.status import PodState
from tidegate.model.tier import Tier

CONFIG = config_of(
    ENROLLED,
    service("db", "tcp:5432", ips="10.96.0.5"),
    pod("db-1", "app: db", "10.0.0.50"),
    pod("client", "app: client"),
    pod("other", "app: other"),
)
CLIENT, OTHER = sandbox("client", 42, "10.0.0.1"), sandbox("other", 43, "10.0.0.9")


def state(node: Node, name: str) -> PodState:
    verdict = node.pod(name)
    assert verdict is not None
    return verdict.state


async def test_a_refused_pod_is_tried_again_alone() -> None:
    node = Node(CONFIG, CLIENT, OTHER)
    node.tables.refused.add(42)
    async with node.running():
        assert (state(node, "client"), state(node, "other")) == (PodState.FAILED, PodState.ENROLLED)
        generation, images, told = node.cycle.plan.value.generation, len(node.relay.images), len(node.envoy.published)
        attempts = [node.tables.count("attach_lookup")]
        for _ in range(40):
            await node.later(0.5)
            attempts.append(node.tables.count("attach_lookup"))
        tried_at = [0.5 * n for n in range(1, 41) if attempts[n] > attempts[n - 1]]
        assert tried_at == [0.5, 1.5, 3.5, 7.5, 15.5]
        assert [about for call, about in node.tables.calls if call == "set_pod"] == [43], "what is fine is left alone"
        assert node.cycle.plan.value.generation == generation
        assert (len(node.relay.images), len(node.envoy.published)) == (images, told)
        node.tables.refused.clear()
        await node.later(20.0)
        assert state(node, "client") is PodState.ENROLLED
        assert not node.failures("enrolment")


async def test_a_pod_that_cannot_be_opened_has_a_back_off_of_its_own() -> None:
    node = Node(CONFIG, CLIENT, OTHER)
    node.inside.gone.add(42)
    async with node.running():
        assert state(node, "client") is PodState.FAILED
        node.inside.gone.clear()
        await node.later(0.4)
        assert state(node, "client") is PodState.FAILED
        await node.later(0.2)
        assert state(node, "client") is PodState.ENROLLED
        assert node.relay.added == [43, 42]


async def test_a_refused_row_is_tried_again_and_the_others_are_not() -> None:
    node = Node(CONFIG, CLIENT)
    node.tables.room = 0
    async with node.running():
        assert node.failures("destinations past envoy")
        node.tables.room = 100
        generation = node.cycle.plan.value.generation
        await node.later(1.0)
        assert node.tables.dests[at("10.96.0.5", 5432)][0] is Tier.FASTPATH
        assert not node.failures("destinations past envoy")
        assert node.cycle.plan.value.generation == generation
        writes = node.tables.count("set_destinations")
        await node.later(60.0)
        assert node.tables.count("set_destinations") == writes


async def test_a_refused_image_is_offered_again_and_a_new_one_at_once() -> None:
    node = Node(CONFIG)
    node.relay.refusal = OSError(12, "no memory")
    async with node.running():
        for _ in range(3):
            await node.later(4.0)
        node.relay.refusal = None
        await node.later(0.1)
        assert node.relay.images == [], "it is not due yet"
        await node.configure(config_of(ENROLLED, service("new", "tcp:1", ips="10.96.0.8")))
        assert len(node.relay.images) == 1


@pytest.mark.parametrize(("step", "function"), [("facts", "join"), ("compile", "Compiler.compile")])
async def test_what_cannot_be_made_keeps_what_is_in_force(
    step: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not until the configuration changes, or a while later."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    node = Node(CONFIG, CLIENT)
    async with node.running():
        with monkeypatch.context() as patch:
            patch.setattr(f"tidegate.dataplane.cycle.{function}", broken)
            await node.configure(config_of(ENROLLED, service("new", "tcp:1", ips="10.96.0.8")))
            assert [o.reason for o in node.status.appliers[step].failures] == ["ZeroDivisionError: oops"]
            assert node.tables.dests[at("10.96.0.5", 5432)][0] is Tier.FASTPATH
        await node.later(1.0)
        assert step not in node.status.appliers
        assert at("10.96.0.5", 5432) not in node.tables.dests


async def test_what_is_not_wanted_any_more_is_not_thought_of_again() -> None:
    """Neither now and then nor all the time: nothing but the look at the kernel's tables is left to do."""
    node = Node(CONFIG, CLIENT, OTHER)
    node.inside.gone.add(42)
    node.tables.refused.add(43)
    async with node.running():
        assert (state(node, "client"), state(node, "other")) == (PodState.FAILED, PodState.FAILED)
        plain = [pod(name, f"app: {name}, istio.io/dataplane-mode: none") for name in ("client", "other")]
        await node.configure(config_of(ENROLLED, *plain))
        for _ in range(3):
            await node.later(5.0)
        [due] = node.clock.waiting()
        assert due > 60.0
