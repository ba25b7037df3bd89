"""Which endpoints are near: by the node, by the zone, and what holds while neither is known."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import Facts, join
from tidegate.compile.nearness import near
from tidegate.compile.registry import Registry
from tidegate.model.kube import Near


def on(node: str, text: str) -> str:
    return text.replace("spec: {", f"spec: {{nodeName: {node}, ")


PODS = (
    on("m", pod("here", "app: web", "10.0.0.1", "fd00::1")),
    on("n", pod("neighbour", "app: web", "10.0.0.2", "fd00::2")),
    on("o", pod("away", "app: web", "10.0.0.3")),
)
ZONES = """
apiVersion: v1
kind: Node
metadata: {name: m, labels: {topology.kubernetes.io/zone: east}}
---
apiVersion: v1
kind: Node
metadata: {name: n, labels: {topology.kubernetes.io/zone: east}}
---
apiVersion: v1
kind: Node
metadata: {name: o}
"""
ALL = "10.0.0.1 10.0.0.2 10.0.0.3"


def facts_of(spec: str, *texts: str, node: str = "m") -> Facts:
    return join(config_of(service("web", "tcp:80", "http:81", ips="10.96.0.1", spec=spec), *texts), (), node=node)


def chosen(facts: Facts) -> str:
    """What Envoy gets; the fast path has to get the same."""
    web = facts.services["web.default.svc.cluster.local"]
    registry = Registry(facts.read)
    found = [e for e in registry.endpoints(web, web.ports[0]) if e.address.version == 4]
    picked = " ".join(sorted(str(e.address) for e in near(facts.read, web, tuple(found))))
    served = [str(e.address) for service in compile_plan(facts).l4 for e in service.endpoints]
    assert picked == " ".join(served)
    return picked


@pytest.mark.case("D2")
@pytest.mark.parametrize(
    ("spec", "node", "zones", "expected"),
    [
        ("", "m", ZONES, ALL),
        ("internalTrafficPolicy: Cluster", "m", ZONES, ALL),
        ("internalTrafficPolicy: Local", "m", "", "10.0.0.1"),
        ("internalTrafficPolicy: Local", "p", ZONES, ""),
        ("internalTrafficPolicy: Local", "", ZONES, ALL),
        ("trafficDistribution: PreferSameNode", "m", ZONES, "10.0.0.1"),
        ("trafficDistribution: PreferSameNode", "p", ZONES, ALL),
        ("trafficDistribution: PreferClose", "m", ZONES, "10.0.0.1 10.0.0.2"),
        ("trafficDistribution: PreferSameZone", "n", ZONES, "10.0.0.1 10.0.0.2"),
        ("trafficDistribution: PreferClose", "m", "", ALL),
        ("trafficDistribution: PreferClose", "o", ZONES, ALL),
        ("{internalTrafficPolicy: Local, trafficDistribution: PreferClose}", "m", ZONES, "10.0.0.1"),
    ],
)
def test_near(spec: str, node: str, zones: str, expected: str) -> None:
    written = spec.strip("{}").replace(", ", "\n  ")
    texts = [*PODS, zones] if zones else PODS
    assert chosen(facts_of(written, *texts, node=node)) == expected


@pytest.mark.case("D2")
def test_a_node_that_has_nobody_takes_the_zone_before_all() -> None:
    first = "trafficDistribution: PreferSameNode"
    assert chosen(facts_of(first, PODS[1], PODS[2], ZONES)) == "10.0.0.2"


@pytest.mark.case("D2")
def test_a_container_of_this_node_is_on_it_whatever_its_document_says() -> None:
    mesh = config_of(service("web", "tcp:80", ips="10.96.0.1", spec="internalTrafficPolicy: Local"), *PODS)
    (served,) = compile_plan(join(mesh, [sandbox("away", "10.0.0.3")], node="m")).l4
    assert [str(e.address) for e in served.endpoints] == ["10.0.0.1", "10.0.0.3"]
    (served,) = compile_plan(join(mesh, [sandbox("away", "10.0.0.3")], join(mesh, (), node="m"), "m")).l4
    assert [str(e.address) for e in served.endpoints] == ["10.0.0.1", "10.0.0.3"]


def test_headless_services_ask_for_nothing_because_the_client_chose() -> None:
    spec = "internalTrafficPolicy: Local\n  sessionAffinity: ClientIP"
    (web,) = config_of(service("web", "http:80", ips="None", spec=spec)).services
    assert (web.near, web.affinity_s) == (Near.ANY, 0)


@pytest.mark.case("D2")
def test_zones_that_nobody_says_are_missed_until_somebody_does() -> None:
    text = service("web", "tcp:80", ips="10.96.0.1", spec="trafficDistribution: PreferClose")
    (problem,) = config_of(text).problems
    assert (problem.code, problem.path) == ("TG0508", "spec.trafficDistribution")
    assert not config_of(text, ZONES).problems
    (problem,) = config_of(text, "apiVersion: v1\nkind: Node\nmetadata: {name: o}").problems
    assert problem.code == "TG0508"
    unknown = config_of(text.replace("PreferClose", "PreferMoon")).problems
    assert [p.code for p in unknown] == ["TG0121"]
