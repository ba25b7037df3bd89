"""What dataplane.devices.Envoy promises: of the ADS server with a real Envoy and of the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.dataplane import ABSENT_NETNS, FakeEnvoy
from tests.support.envoy_node import EnvoyNode, Pod, until
from tests.support.envoy_resources import Resources, cluster, endpoints, listener, resources, route

from tidegate.dataplane.devices import Envoy
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from tidegate.model.status import State


@dataclass(frozen=True)
class Case:
    envoy: Envoy
    start: Callable[[], Awaitable[None]]  # the process that is told things


@pytest.fixture(params=["fake", "real"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    if request.param == "fake":
        fake = FakeEnvoy(answers=False)
        yield Case(fake, fake.start)
        return
    node = EnvoyNode(tmp_path)
    try:
        yield Case(node.xds, node.start)
    finally:
        await node.stop()


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    made = [Pod() for _ in range(2)]
    yield made
    for each in made:
        each.delete()


def site(*listeners: tuple[str, str]) -> Resources:
    """Listeners by name and netns, one route for all."""
    return resources(
        (CLUSTERS, cluster("web")),
        (ENDPOINTS, endpoints("web", 9)),
        (ROUTES, route("web", {"web": 1})),
        *((LISTENERS, listener(name, netns, "web")) for name, netns in listeners),
    )


async def test_nothing_is_answered_while_nobody_is_there(case: Case, pods: list[Pod]) -> None:
    assert (case.envoy.answered(), case.envoy.waiting(), list(case.envoy.rejected())) == (0, frozenset(), [])
    await case.envoy.publish(1, site(("a", pods[0].path)))
    assert (case.envoy.answered(), case.envoy.waiting()) == (0, frozenset({"a"}))


async def test_what_is_served_is_answered_and_waits_no_more(case: Case, pods: list[Pod]) -> None:
    await case.envoy.publish(1, site(("a", pods[0].path)))
    before = case.envoy.progress.version
    await case.start()
    await until(lambda: case.envoy.answered() == 1, "Envoy has all")
    assert (case.envoy.waiting(), list(case.envoy.rejected())) == (frozenset(), [])
    assert case.envoy.progress.version > before
    await case.envoy.publish(2, site(("a", pods[0].path), ("b", pods[1].path)))
    await until(lambda: case.envoy.answered() == 2, "Envoy has the second")
    assert case.envoy.waiting() == frozenset()


async def test_the_same_again_is_answered_without_a_word_to_envoy(case: Case, pods: list[Pod]) -> None:
    await case.start()
    for generation in (1, 2):
        await case.envoy.publish(generation, site(("a", pods[0].path)))
        await until(case.envoy.answered, "answered")
        assert case.envoy.answered() == generation


async def test_a_refused_listener_is_answered_named_and_waits_for_nothing(case: Case, pods: list[Pod]) -> None:
    await case.start()
    await case.envoy.publish(1, site(("a", pods[0].path), ("odd", ABSENT_NETNS)))
    await until(lambda: case.envoy.answered() == 1, "all is answered")
    [refused] = case.envoy.rejected()
    assert (refused.item, refused.state, refused.origins) == ("odd", State.FAILED, ("Pod default/odd",))
    assert "netns" in refused.reason
    assert case.envoy.waiting() == frozenset()
    await case.envoy.publish(2, site(("a", pods[0].path)))
    await until(lambda: case.envoy.answered() == 2, "all is answered")
    assert list(case.envoy.rejected()) == []
