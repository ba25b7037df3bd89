"""Whoever follows changes has what one has who begins anew: the configuration, the facts, what a node and a gateway are
told, what Envoys hold after deltas, what the appliers of the kernel's tables, the names and the pods were told. Over
states of documents of all kinds, drawn by hypothesis. And what Envoys hold leads to what they hold, all the way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.configs import sandbox
from tests.support.follower import Follower
from tests.support.states import State, parsed, states

from tidegate.compile.compiler import Compiler
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.facts import Facts, join
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.compile.others.client import client
from tidegate.compile.others.served import known, resources
from tidegate.config.sources.base import Change
from tidegate.config.sources.holdings import Holdings
from tidegate.config.store import Store
from tidegate.dataplane.changes import Delta, changes
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.mesh import Mesh
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import Resources
from tidegate.xds.encode import KINDS, Encoder

MORE = os.environ.get("TIDEGATE_TEST_EXAMPLES", "")
EXAMPLES = int(MORE or 6)
PHASES = [Phase.generate, *([Phase.shrink] if MORE else [])]  # to make small what is wrong takes minutes: for who asks
NODE = "node1"
SANDBOXES = (
    sandbox("client", "10.244.1.1", namespace="shop", cookie=1),
    sandbox("web-1", "10.244.1.4", namespace="shop", cookie=2),
    sandbox("guest", "10.244.1.9", namespace="other", cookie=3),
)
WORKLOAD = GatewayWorkload("shop", {"istio": "ingressgateway"})
FILES = Materials(files={f"/c/{name}": name.encode() for name in ("tls.crt", "tls.key", "ca.crt", "ca.crl")})
SIDECAR = client("sidecar~10.244.1.1~client.shop~shop.svc.cluster.local", {})


class Source:
    """A directory that is a state."""

    def __init__(self) -> None:
        self.holdings = Holdings()

    def become(self, state: State) -> Sequence[Change]:
        for name in self.holdings.names - state.keys():
            self.holdings.drop(name)
        for name, text in state.items():
            self.holdings.put(name, parsed(name, text))
        return self.holdings.tell(0)


class Served:
    """One client of xDS, and what is published for it."""

    def __init__(self, *, scoped: bool, delta: bool = True) -> None:
        self.encoder = Encoder()
        self.follower = Follower(delta=delta, scoped=scoped)

    def publish(self, generation: int, found: Resources) -> dict[str, dict[str, bytes]]:
        """What it has then."""
        self.follower.follow(self.encoder.publish(generation, {**{kind: {} for kind in KINDS}, **found}))
        return self.follower.has


class Mirror:
    """What appliers hold that only ever hear of changes."""

    def __init__(self) -> None:
        self.plan = Plan(0)
        self.rows: dict[object, object] = {}
        self.pods: dict[object, object] = {}
        self.names: dict[object, object] = {}

    def take(self, plan: Plan) -> tuple[object, ...]:
        told, self.plan = changes(self.plan, plan), plan
        _apply(self.rows, told.destinations, "key")
        _apply(self.pods, told.pods, "id")
        _apply(self.names, told.names, "host")
        return dict(self.rows), dict(self.pods), dict(self.names)


def _apply(held: dict[object, object], told: Delta[Any], key: str) -> None:
    for item in told.gone:
        held.pop(getattr(item, key), None)
    for item in told.put:
        held[getattr(item, key)] = item


class Node:
    """All that follows a mesh: a node with its Envoy, a gateway's, a sidecar's that is not ours."""

    def __init__(self, *, others_by_delta: bool = True) -> None:
        self.store, self.source = Store(), Source()
        self.facts: Facts | None = None
        self.compiler, self.mirror = Compiler(), Mirror()
        self.envoy, self.gateway = Served(scoped=True), Served(scoped=False)
        self.sidecar = Served(scoped=False, delta=others_by_delta)

    def become(self, state: State, generation: int) -> dict[str, object]:
        """What there is then, part by part."""
        mesh = self.store.apply(0, self.source.become(state))
        self.facts = join(mesh, SANDBOXES, self.facts, NODE)
        plan = self.compiler.compile(self.facts, generation)
        edge = compile_gateway(self.facts, WORKLOAD, FILES)
        told = {
            "mesh": _content(mesh),
            "plan": replace(plan, generation=0, envoy={}),
            "applied": self.mirror.take(plan),
            "envoy": _copy(self.envoy.publish(generation, plan.envoy)),
            "gateway": _copy(self.gateway.publish(generation, edge.envoy)),
            "left out": [(left.served.server, left.why) for left in edge.left_out],
            "sidecar": _copy(self.sidecar.publish(generation, resources(self.facts, known(self.facts, SIDECAR)))),
        }
        for served in (self.envoy, self.gateway, self.sidecar):
            assert [name for name in served.follower.nowhere() if _is_somewhere(name, self.facts)] == []
        return told


def _is_somewhere(cluster: str, facts: Facts) -> bool:
    """Whether a cluster ought to be there: of a port that its service has. Subsets need a rule that defines them."""
    key = ClusterKey.parse(cluster)
    service = facts.services.get(key.fqdn) if key else None
    return bool(key and service and not key.subset and service.port(key.port))


def _content(mesh: Mesh) -> Mesh:
    return replace(mesh, generation=0, changed=frozenset())


def _copy(has: dict[str, dict[str, bytes]]) -> dict[str, dict[str, bytes]]:
    return {kind: dict(table) for kind, table in has.items()}


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(states(), min_size=2, max_size=3))
def test_deltas_lead_to_the_state_of_the_world(steps: list[State]) -> None:
    follows = Node()
    for generation, state in enumerate(steps, 1):
        after = follows.become(state, generation)
        assert differing(after, Node(others_by_delta=False).become(state, generation)) == []


def differing(after: dict[str, object], anew: dict[str, object]) -> Iterable[str]:
    """Names of the parts that are not the same."""
    return [name for name in after if after[name] != anew[name]]
