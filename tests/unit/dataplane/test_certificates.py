"""Certificates of pods: asked for by the plan, told to Envoy beside it, and what is missing is told."""

from __future__ import annotations

from tests.support.configs import ENROLLED, config_of, destination_rule, pod, service
from tests.support.dataplane import Node, sandbox

from tidegate.model.identity import ROOTS, Identity
from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import SECRETS
from tidegate.model.status import Outcome, State

WHO = Identity("default", "default")
NAME = "spiffe://cluster.local/ns/default/sa/default"


def mesh(mutual: bool = True) -> Mesh:
    rule = destination_rule("web", "web", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
    return config_of(
        ENROLLED,
        service("web", "http:80", ips="10.96.0.6"),
        pod("web", "app: web", "10.0.0.9"),
        pod("client", "app: client", "10.0.0.3"),
        *((rule,) if mutual else ()),
    )


def secrets(node: Node) -> set[str]:
    """What Envoy has been told of."""
    return set(node.envoy.published[-1][SECRETS])


def told(node: Node) -> tuple[Outcome, ...]:
    return node.cycle.status.value.appliers["certificates"].outcomes


async def test_what_is_issued_is_told_to_envoy_without_another_plan() -> None:
    node = Node(mesh(), sandbox("client", 42, "10.0.0.3"))
    async with node.running():
        generation = node.cycle.plan.value.generation
        assert node.certificates.wanted == {WHO}
        assert told(node) == (Outcome(NAME, State.PENDING, "is being issued"),)
        assert (secrets(node), node.cycle.status.value.generation) == (set(), 0)
        await node.certificates.issue()
        await node.calm()
        assert secrets(node) == {WHO.secret, WHO.served_by, ROOTS}
        assert (told(node), node.cycle.status.value.generation) == ((), generation)
        before = node.envoy.published[-1][SECRETS][WHO.secret]
        await node.certificates.issue("2")
        await node.calm()
        assert node.envoy.published[-1][SECRETS][WHO.secret] != before
        assert node.cycle.plan.value.generation == generation
        assert not node.cycle.plan.value.envoy[SECRETS], "no key is in the plan"


async def test_one_that_cannot_be_issued_is_told_and_holds_up_nobody() -> None:
    node = Node(mesh(), sandbox("client", 42, "10.0.0.3"))
    node.certificates.refused[WHO] = "the authority is away"
    async with node.running():
        assert told(node) == (Outcome(NAME, State.FAILED, "the authority is away"),)
        assert node.cycle.status.value.generation == node.cycle.plan.value.generation


async def test_without_a_rule_nobody_wants_any() -> None:
    node = Node(mesh(mutual=False), sandbox("client", 42, "10.0.0.3"))
    async with node.running():
        assert (node.certificates.wanted, secrets(node)) == (frozenset(), set())


async def test_where_the_authority_is_far_away_certificates_are_there_before_a_rule_asks() -> None:
    node = Node(mesh(mutual=False), sandbox("client", 42, "10.0.0.3"), certificates_ahead=True)
    node.certificates.refused[WHO] = "the authority is away"
    async with node.running():
        assert node.certificates.wanted == {WHO}
        assert told(node) == (), "nothing needs it yet, so nothing fails"
        assert node.cycle.status.value.generation == node.cycle.plan.value.generation
        await node.configure(mesh())
        await node.calm()
        assert told(node) == (Outcome(NAME, State.FAILED, "the authority is away"),)
