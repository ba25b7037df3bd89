"""Rows of tg_inbound: they come after the listener that they lead to, and go before it."""

from __future__ import annotations

from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, sandbox
from tests.unit.compile.outbound.test_filtered import LUA, a_filter

from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import LISTENERS
from tidegate.model.plan.kernel import InboundPort
from tidegate.model.status import Outcome, State

ROWS = {InboundPort(42, 8080, 4), InboundPort(42, 8080, 6)}
NAME = "inbound|default/web|42"


def mesh(filtered: bool = True) -> Mesh:
    """A pod that is a server, and a filter for what comes to it."""
    patch = f"- {{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: ADD, value: {LUA}}}}}"
    filters = (a_filter(patch, app="web"),) if filtered else ()
    web = service("web", "http:80:8080", ips="10.96.0.6")
    return config_of(ENROLLED, web, pod("web", "app: web", "10.0.0.3"), *filters)


def server() -> Node:
    return Node(mesh(filtered=False), sandbox("web", 42, "10.0.0.3"))


def listens(node: Node) -> bool:
    return NAME in node.envoy.published[-1].get(LISTENERS, {})


async def test_a_row_comes_when_envoy_listens_and_goes_before_envoy_is_told() -> None:
    node = server()
    async with node.running():
        assert node.tables.ports == set()
        node.envoy.answers = False
        await node.configure(mesh())
        assert (listens(node), node.tables.ports) == (True, set()), "Envoy has not answered"
        await node.envoy.start()
        await node.calm()
        assert node.tables.ports == ROWS
        seen: list[set[InboundPort]] = []
        node.envoy.told = lambda: seen.append(set(node.tables.ports))
        await node.configure(mesh(filtered=False))
        assert seen[0] == set()
        assert not listens(node)


async def test_a_new_pod_is_captured_when_its_ports_are() -> None:
    node = Node(mesh(), sandbox("web", 42, "10.0.0.3"))
    node.envoy.answers = False
    async with node.running():
        await node.envoy.answer(but=[NAME])
        await node.calm()
        assert node.tables.rows == {}, "who dialled it now would pass the filter by"
        await node.envoy.start()
        await node.calm()
        calls = [call for call, _ in node.tables.calls if call.startswith("set_")]
        assert calls.index("set_pod") > calls.index("set_inbound")


async def test_what_envoy_refuses_is_not_in_force_and_the_pod_goes_on() -> None:
    node = server()
    async with node.running():
        node.envoy.refused = (Outcome(NAME, State.FAILED, "envoy: no such filter"),)
        await node.configure(mesh())
        assert node.tables.ports == set()
        assert set(node.tables.rows) == {42}
        await node.detach(42)
        await node.attach(sandbox("web", 43, "10.0.0.3"))
        node.envoy.refused = (Outcome("inbound|default/web|43", State.FAILED, "envoy: no such filter"),)
        await node.envoy.progress.set(node.envoy.progress.value + 1)
        await node.calm()
        assert set(node.tables.rows) == {43}


async def test_a_row_that_the_kernel_refuses_is_named_and_tried_again() -> None:
    node = server()
    async with node.running():
        node.tables.refused.add(42)
        await node.configure(mesh())
        items = [item for item, _ in node.failures("inbound ports to envoy")]
        assert items == [f"inbound IPv{version} port 8080 of netns 42" for version in (4, 6)]
        node.tables.refused.clear()
        await node.later(60.0)
        assert node.tables.ports == ROWS
        assert node.failures("inbound ports to envoy") == []


async def test_a_pod_that_is_released_leaves_no_row() -> None:
    node = server()
    async with node.running():
        await node.configure(mesh())
        await node.detach(42)
        assert node.tables.ports == set()
        await node.calm()
        assert node.tables.ports == set()


async def test_the_next_agent_keeps_rows_that_are_wanted_and_takes_others_away() -> None:
    node = server()
    async with node.running():
        await node.configure(mesh())
    node.tables.ports.add(stray := InboundPort(7, 80, 4))
    node.tables.calls.clear()
    async with node.killed_and_restarted():
        assert node.tables.ports == ROWS
        changes = [
            (call, about) for call, about in node.tables.calls if call.endswith("et_inbound") or "delete" in call
        ]
        assert changes == [("delete_inbound", stray)]


async def test_clients_dial_anew_only_when_the_filter_is_in_force() -> None:
    node = server()
    async with node.running():
        await node.configure(mesh())
        name = "outbound|80||web.default.svc.cluster.local"
        first, second = (told["clusters"][name].body for told in node.envoy.published[-2:])
        assert "tidegate" not in first["metadata"]["filter_metadata"]
        assert "tidegate" in second["metadata"]["filter_metadata"]
