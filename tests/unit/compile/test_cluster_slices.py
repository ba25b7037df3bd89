"""A cluster's EndpointSlices say who is behind its Services, and pods only who that is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import sandbox
from tests.support.kube.objects import endpoint, endpoint_slice, namespace, node, pod, service
from tests.support.kube.told import Cluster, mesh_told

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.facts import Facts, join
from tidegate.compile.names import servers_of
from tidegate.compile.registry import Registry
from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import ENDPOINTS

NAME = "web.default.svc.cluster.local"
WEB = service("web")
NOT_READY = {"ready": False, "serving": False, "terminating": False}
ENDS = {"ready": False, "serving": True, "terminating": True}


def facts_of(mesh: Mesh, here: str = "") -> Facts:
    return join(mesh, (), node=here)


def served(*documents: dict[str, Any], here: str = "") -> list[str]:
    """Where clients on a node are sent."""
    facts = facts_of(mesh_told(WEB, *documents), here)
    registry, web = Registry(facts.read), facts.services[NAME]
    found = registry.near(web, registry.endpoints(web, web.ports[0]))
    return [f"{e.address}:{e.port} {e.name}".strip() for e in found]


def test_the_selector_is_not_followed() -> None:
    beside = pod("starting", "10.244.0.9", app="web")
    slices = endpoint_slice("web-a", "web", [endpoint("10.244.0.1"), endpoint("192.0.2.7")])
    assert served(pod("a", "10.244.0.1", app="web"), beside, slices) == ["10.244.0.1:8080 default/a", "192.0.2.7:8080"]


def test_of_a_service_without_slices_nobody_is_known() -> None:
    assert served(pod("a", "10.244.0.1", app="web")) == []


def test_several_slices_with_ports_of_their_own_and_no_endpoint_twice() -> None:
    one = endpoint_slice("web-a", "web", [endpoint("10.244.0.1"), endpoint("10.244.0.2")])
    other = endpoint_slice("web-b", "web", [endpoint("10.244.0.3")], port=9090)
    again = endpoint_slice("web-c", "web", [endpoint("10.244.0.2")])
    without = endpoint_slice("web-d", "web", [endpoint("10.244.0.4")], ports=[{"name": "admin", "port": 1}])
    assert served(one, other, again, without) == ["10.244.0.1:8080", "10.244.0.2:8080", "10.244.0.3:9090"]


def test_who_moves_from_slice_to_slice_is_ready_if_one_says_so() -> None:
    one = endpoint_slice("web-a", "web", [endpoint("10.244.0.1", conditions=NOT_READY)])
    other = endpoint_slice("web-b", "web", [endpoint("10.244.0.1")])
    assert served(one, other) == ["10.244.0.1:8080"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, NOT_READY, ["10.244.0.1:8080"]),
        ({}, ENDS, ["10.244.0.1:8080"]),
        (ENDS, NOT_READY, ["10.244.0.1:8080"]),
        (ENDS, {**ENDS, "serving": False}, ["10.244.0.1:8080"]),
        (NOT_READY, NOT_READY, []),
        ({"ready": None}, NOT_READY, ["10.244.0.1:8080"]),
    ],
)
def test_conditions(first: dict[str, Any], second: dict[str, Any], expected: list[str]) -> None:
    here = endpoint("10.244.0.1", conditions=first)
    assert served(endpoint_slice("web-a", "web", [here, endpoint("10.244.0.2", conditions=second)])) == expected


NODES = (node("m", "east"), node("n", "west"), node("o"))


def hinted(address: str, *, zones: str = "", nodes: str = "") -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if zones:
        hints["forZones"] = [{"name": zone} for zone in zones.split()]
    if nodes:
        hints["forNodes"] = [{"name": name} for name in nodes.split()]
    return endpoint(address, zone="elsewhere", **({"hints": hints} if hints else {}))


@pytest.mark.parametrize(
    ("here", "expected"), [("m", "10.244.0.1 10.244.0.2"), ("n", "10.244.0.2 10.244.0.3"), ("o", "all"), ("", "all")]
)
def test_hints_say_which_zone_an_endpoint_is_for(here: str, expected: str) -> None:
    members = [
        hinted("10.244.0.1", zones="east"),
        hinted("10.244.0.2", zones="east west"),
        hinted("10.244.0.3", zones="west"),
    ]
    wanted = "10.244.0.1 10.244.0.2 10.244.0.3" if expected == "all" else expected
    found = served(*NODES, endpoint_slice("web-a", "web", members), here=here)
    assert found == [f"{address}:8080" for address in wanted.split()]


def test_hints_that_some_endpoints_lack_or_that_are_for_others_are_none() -> None:
    some = [hinted("10.244.0.1", zones="east"), hinted("10.244.0.2")]
    assert len(served(*NODES, endpoint_slice("web-a", "web", some), here="m")) == 2
    others = [hinted("10.244.0.1", zones="north"), hinted("10.244.0.2", zones="north")]
    assert len(served(*NODES, endpoint_slice("web-a", "web", others), here="m")) == 2


def test_hints_for_nodes_come_before_those_for_zones() -> None:
    members = [hinted("10.244.0.1", zones="east", nodes="m"), hinted("10.244.0.2", zones="east", nodes="n")]
    slices = endpoint_slice("web-a", "web", members)
    assert served(*NODES, slices, here="m") == ["10.244.0.1:8080"]
    assert len(served(*NODES, node("p", "east"), slices, here="p")) == 2


def test_a_policy_of_the_service_comes_before_hints() -> None:
    members = [
        {**hinted("10.244.0.1", zones="west"), "nodeName": "m"},
        {**hinted("10.244.0.2", zones="east"), "nodeName": "n"},
    ]
    local = service("web", internalTrafficPolicy="Local")
    facts = facts_of(mesh_told(local, *NODES, endpoint_slice("web-a", "web", members)), "m")
    registry, web = Registry(facts.read), facts.services[NAME]
    assert [str(e.address) for e in registry.near(web, registry.endpoints(web, web.ports[0]))] == ["10.244.0.1"]


def test_a_headless_service_means_what_its_slices_have() -> None:
    headless = service("web", ip="None")
    slices = endpoint_slice("web-a", "web", [endpoint("10.244.0.1", hostname="web-0"), endpoint("10.244.0.2")])
    facts = facts_of(mesh_told(headless, slices, pod("a", "10.244.0.1", app="web"), pod("b", "10.244.0.9", app="web")))
    rows = {str(row.address) for row in compile_plan(facts).destinations if row.port == 80}
    assert rows == {"10.244.0.1", "10.244.0.2"}
    names = {server.label: [str(ip) for ip in server.addresses] for server in facts.read(servers_of, NAME)}
    assert names["web-0"] == ["10.244.0.1"]


@pytest.mark.parametrize("selected", [True, False])
def test_what_follows_a_changed_slice_is_what_is_made_of_it_anew(selected: bool) -> None:
    cluster, compiler = Cluster(), Compiler()
    web = WEB if selected else service("web", selector={})
    client = pod("client", "10.244.1.1", app="client")
    here = [sandbox("client", "10.244.1.1")]
    facts = None
    for number in (1, 2, 3):
        slices = endpoint_slice("web-a", "web", [endpoint(f"10.244.0.{number}")])
        mesh = cluster.say(namespace("default", **{"istio-injection": "enabled"}), web, client, slices)
        facts = join(mesh, here, facts)
        made = compiler.compile(facts).envoy[ENDPOINTS]
        afresh = Compiler().compile(join(mesh, here)).envoy[ENDPOINTS]
        name = next(name for name in afresh if NAME in name)
        assert made[name].body == afresh[name].body
        assert f"10.244.0.{number}" in str(made[name].body)
