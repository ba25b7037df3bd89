"""One test for each rule that follows from the order: a tier knows before it is led to, and is not led to when it
forgets."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, at, sandbox

from tidegate.compile.outbound.listeners import listener_name
from tidegate.dataplane.appliers.relay import LINGER_SECONDS
from tidegate.dataplane.order import ORDER, in_order
from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import LISTENERS, ROUTES, MadeOnDemand
from tidegate.model.plan.kernel import DestinationKey
from tidegate.model.tier import Tier

KEY = at("10.96.0.6", 80)


def speaking(protocol: str) -> Mesh:
    """One service, whose port is of this protocol; none without."""
    web = [service("web", f"{protocol}:80", ips="10.96.0.6")] if protocol else []
    return config_of(ENROLLED, *web, pod("web", "app: web", "10.0.0.3"), pod("client", "app: client"))


def served(node: Node) -> set[DestinationKey]:
    return {DestinationKey(*address) for s in node.relay.services for address in s.addresses}


def tier(node: Node) -> Tier | None:
    return node.tables.dests.get(KEY, (None, 0))[0]


@pytest.mark.parametrize(
    ("before", "after", "while_envoy_is_told"),
    [("tcp", "http", Tier.FASTPATH), ("http", "tcp", Tier.FASTPATH), ("http", "", None), ("", "http", None)],
)
async def test_a_port_that_changes_its_tier_is_served_at_each_moment(
    before: str, after: str, while_envoy_is_told: Tier | None
) -> None:
    """Rows lead to the relay only while it knows the service, and to Envoy only while Envoy has the listener."""
    node = Node(speaking(before), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        seen: list[tuple[Tier | None, bool]] = []
        node.envoy.told = lambda: seen.append((tier(node), KEY in served(node)))
        await node.configure(speaking(after))
        assert seen == [(while_envoy_is_told, while_envoy_is_told is Tier.FASTPATH)]
        assert tier(node) is {"http": Tier.ENVOY, "tcp": Tier.FASTPATH}.get(after)


async def test_a_row_leads_to_envoy_only_when_envoy_has_answered() -> None:
    node = Node(speaking("tcp"))
    async with node.running():
        node.envoy.answers = False
        await node.configure(speaking("http"))
        await node.later(60.0)
        assert (tier(node), KEY in served(node)) == (Tier.FASTPATH, True), "however long that takes"
        await node.envoy.answer()
        await node.calm()
        assert tier(node) is Tier.ENVOY


async def test_a_row_leads_to_the_relay_only_when_the_relay_took_its_services() -> None:
    node = Node(speaking("http"))
    async with node.running():
        node.relay.refusal = OSError(12, "no memory")
        await node.configure(speaking("tcp"))
        assert tier(node) is Tier.ENVOY
        node.relay.refusal = None
        await node.later(1.0)
        assert tier(node) is Tier.FASTPATH


async def test_the_relay_serves_what_leaves_until_nothing_leads_there_and_a_little_longer() -> None:
    node = Node(speaking("tcp"))
    async with node.running():
        await node.configure(speaking(""))
        assert tier(node) is None
        assert KEY in served(node), "a connection may be on its way"
        await node.later(LINGER_SECONDS / 2)
        assert KEY in served(node)
        await node.later(LINGER_SECONDS)
        assert KEY not in served(node)
        images = len(node.relay.images)
        await node.later(60.0)
        assert len(node.relay.images) == images, "what is fine is left alone"


@pytest.mark.case("B3")
async def test_connects_are_refused_until_the_relay_has_an_endpoint_and_again_when_it_has_none() -> None:
    nobody = config_of(ENROLLED, service("web", "tcp:80", ips="10.96.0.6"), pod("client", "app: client"))
    node = Node(nobody, sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        assert tier(node) is Tier.REFUSE
        node.relay.refusal = OSError(12, "no memory")
        await node.configure(speaking("tcp"))
        assert tier(node) is Tier.REFUSE, "the relay does not know the endpoint"
        node.relay.refusal = None
        await node.later(60.0)
        assert tier(node) is Tier.FASTPATH
        await node.configure(nobody)
        assert tier(node) is Tier.REFUSE


async def test_an_address_that_another_service_takes_over_is_the_new_ones_at_once() -> None:
    both = (pod("o", "app: old", "10.0.0.3"), pod("n", "app: new", "10.0.0.4"))
    node = Node(config_of(ENROLLED, service("old", "tcp:80", ips="10.96.0.6"), *both))
    async with node.running():
        await node.configure(config_of(ENROLLED, service("new", "tcp:80", ips="10.96.0.6"), *both))
        assert [s.name for s in node.relay.services] == ["new.default.svc.cluster.local:80"]
        assert node.tables.dests[KEY] == (Tier.FASTPATH, node.relay.services[0].number)


async def test_a_pods_row_comes_after_its_guard_and_goes_before_it() -> None:
    node = Node(speaking("tcp"), sandbox("client", 42, "10.0.0.1"))
    async with node.running():
        await node.detach(42)
        calls = [call for call, about in node.tables.calls if about == 42]
        assert calls == ["attach_lookup", "set_pod", "delete_pod", "detach_lookup"]


async def test_what_serves_a_pod_goes_in_reverse_order_once_it_is_released() -> None:
    client = sandbox("client", 42, "10.0.0.1")
    node = Node(speaking("http"), client)
    async with node.running():
        seen: list[tuple[bool, bool]] = []
        node.relay.removed = lambda: seen.append(
            (42 in node.tables.rows, listener_name(client) in node.envoy.published[-1].get(LISTENERS, {}))
        )
        web = service("web", "http:80", ips="10.96.0.6")
        await node.configure(config_of(ENROLLED, web, pod("client", "istio.io/dataplane-mode: none")))
        assert seen == [(False, False)], "first its row, then Envoy's listener, then the relay's"


async def test_a_pod_is_captured_when_all_that_it_may_be_led_to_is_ready() -> None:
    node = Node(speaking("http"), sandbox("client", 42, "10.0.0.1"))
    node.envoy.answers = False
    async with node.running():
        assert node.tables.rows == {}
        await node.envoy.answer()
        await node.calm()
        calls = [call for call, _ in node.tables.calls if call.startswith("set_")]
        assert calls[-1] == "set_pod", calls


def test_the_order_is_total() -> None:
    assert len(set(ORDER)) == len(ORDER)

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

    named = [Named(name) for name in reversed(ORDER)]
    assert [a.name for a in in_order(named)] == list(ORDER)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="twice"):
        in_order([*named, Named(ORDER[0])])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="x"):
        in_order([Named("x")])  # type: ignore[list-item]


async def test_what_is_made_on_demand_stays_so_while_a_listener_is_kept() -> None:
    """A pod that leaves keeps its listener for a moment, and Envoy may still ask for what that leads to."""
    web, gone = service("web", "http:80", ips="10.96.0.6"), service("gone", "http:81", ips="10.96.0.7")
    server = pod("web", "app: web", "10.0.0.3")
    before = config_of(ENROLLED, web, gone, server, pod("client", "app: client"))
    node = Node(before, sandbox("client", 42, "10.0.0.1"), sandbox("web", 43, "10.0.0.3"))
    async with node.running():
        told: list[object] = []
        node.envoy.told = lambda: told.append(node.envoy.published[-1][ROUTES])
        new = service("new", "http:82", ips="10.96.0.8")
        await node.configure(config_of(ENROLLED, web, new, server, pod("client", "istio.io/dataplane-mode: none")))
        kept = told[0]
        assert isinstance(kept, MadeOnDemand)
        assert "gone.default.svc.cluster.local:81" in kept, "as before"
        assert "new.default.svc.cluster.local:82" in kept, "as after"
