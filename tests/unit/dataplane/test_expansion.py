"""State expansion: named states of a node, each built from another, in sequences that are applied step by step, only at
the end, backwards first, and every step twice. Where it ends depends on the last state alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, sandbox

from tidegate.bpf.records import PodRow
from tidegate.dataplane.appliers.relay import LINGER_SECONDS
from tidegate.dataplane.devices import DestinationRow
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.plan.kernel import DestinationKey
from tidegate.model.workload import Sandbox


@dataclass(frozen=True)
class World:
    """Documents by name, and the sandboxes that the runtime has."""

    documents: Mapping[str, str]
    sandboxes: tuple[Sandbox, ...] = ()

    def having(self, *sandboxes: Sandbox, **documents: str) -> World:
        """With these as well, or in place of those of the same name; an empty document takes one away."""
        together = {name: text for name, text in {**self.documents, **documents}.items() if text}
        return World(together, (*self.sandboxes, *sandboxes))

    def without(self, cookie: int) -> World:
        return replace(self, sandboxes=tuple(s for s in self.sandboxes if s.netns_cookie != cookie))


CLIENT, WEB, SECOND = (
    sandbox("client", 42, "10.0.0.1"),
    sandbox("web", 43, "10.0.0.3"),
    sandbox("client", 52, "10.0.0.7"),
)
OPTED_OUT = pod("client", "app: client, istio.io/dataplane-mode: none")

EMPTY = World({"namespace": ENROLLED})
CONFIGURED = EMPTY.having(
    client=pod("client", "app: client"),
    web=pod("web", "app: web", "10.0.0.3"),
    http=service("web", "http:80", ips="10.96.0.6"),
    tcp=service("db", "tcp:5432", ips="10.96.0.5"),
)
STATES = {
    "empty": EMPTY,
    "configured": CONFIGURED,
    "one pod": CONFIGURED.having(CLIENT),
    "two pods": CONFIGURED.having(CLIENT, WEB),
    "first pod gone": CONFIGURED.having(CLIENT, WEB).without(42),
    "pod made anew": CONFIGURED.having(WEB, SECOND),
    "opted out": CONFIGURED.having(CLIENT, WEB, client=OPTED_OUT),
    "namespace left": CONFIGURED.having(CLIENT, WEB, namespace=""),
    "port is tcp now": CONFIGURED.having(CLIENT, http=service("web", "tcp:80", ips="10.96.0.6")),
    "address taken over": CONFIGURED.having(CLIENT, tcp="", other=service("other", "tcp:5432", ips="10.96.0.5")),
    "headless": CONFIGURED.having(CLIENT, WEB, headless=service("hl", "http:8080", ips="None", selector="app: web")),
    "no http": CONFIGURED.having(CLIENT, WEB, http=""),
    "pod document gone": CONFIGURED.having(CLIENT, WEB, client=""),
}


@dataclass(frozen=True)
class End:
    """What a data plane holds, but for the numbers of the relay's ports."""

    rows: Mapping[int, PodRow]
    guards: frozenset[int]
    destinations: Mapping[DestinationKey, DestinationRow]
    services: frozenset[object]
    listening: frozenset[int]
    envoy: Mapping[str, Mapping[str, EnvoyResource]]
    pods: frozenset[object]
    generation_serves: bool


async def end(node: Node) -> End:
    for _ in range(3):
        await node.later(2 * LINGER_SECONDS)
    for cookie, row in node.tables.rows.items():
        assert (row.fastpath4, row.fastpath6) == node.relay.listening[cookie]
    return End(
        {cookie: replace(row, fastpath4=0, fastpath6=0) for cookie, row in node.tables.rows.items()},
        frozenset(node.tables.guards),
        dict(node.tables.dests),
        frozenset(node.relay.services),
        frozenset(node.relay.listening),
        {kind: dict(resources) for kind, resources in node.envoy.published[-1].items() if resources},
        frozenset((p.id, p.netns_cookie, p.state, p.reason) for p in node.status.pods),
        node.status.generation == node.cycle.plan.value.generation
        and not any(applier.outcomes for applier in node.status.appliers.values()),
    )


async def enter(node: Node, world: World, calm: bool) -> None:
    await node.config.set(config_of(*world.documents.values()))
    for known in tuple(node.sandboxes):
        if known not in world.sandboxes:
            await node.detach(known.netns_cookie)
    node.sandboxes = list(world.sandboxes)
    node.cycle.set_sandboxes(node.sandboxes)
    if calm:
        await node.calm()


async def walk(names: list[str], *, calm: bool = True, impatient: bool = False) -> End:
    """impatient: Envoy answers only once, at the end."""
    node = Node(config_of(ENROLLED))
    async with node.running():
        node.envoy.answers = not impatient
        for name in names:
            await enter(node, STATES[name], calm)
        await node.calm()
        if impatient:
            node.envoy.answers = True
            await node.envoy.answer()
            await node.calm()
        return await end(node)


def sequences() -> list[list[str]]:
    """Each state is the last one of some; drawn, and the same in each run."""
    luck = random.Random(8)
    return [[*luck.sample(sorted(STATES), 4), last] for last in STATES for _ in range(2)]


@pytest.mark.parametrize("names", sequences(), ids="-".join)
async def test_where_it_ends_depends_on_the_last_state_alone(names: list[str]) -> None:
    direct = await walk(names[-1:])
    assert direct.generation_serves
    assert await walk(names) == direct, "step by step"
    assert await walk(names, calm=False) == direct, "only at the end"
    assert await walk([*reversed(names), *names[-1:]]) == direct, "backwards"
    assert await walk([name for name in names for _ in range(2)]) == direct, "every step twice"
    assert await walk(names, impatient=True) == direct, "Envoy says nothing until the end"
