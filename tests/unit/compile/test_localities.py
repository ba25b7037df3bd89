"""Endpoints by where they stand: shares, orders, and when there is none."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, destination_rule, pod, service

from tidegate.compile.facts import join
from tidegate.compile.localities import Group, is_weighted, spread
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.visibility import Source
from tidegate.model.locality import Locality


def node(name: str, region: str, zone: str = "", subzone: str = "") -> str:
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    written = ", ".join(f"{k}: {v!r}" for k, v in {**labels, "topology.istio.io/subzone": subzone}.items() if v)
    return f"\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{written}}}}}\n"


NODES = (node("n1", "r", "z", "s"), node("n2", "r", "z", "t"), node("n3", "r", "y"), node("n4", "q"), node("n5", "p"))
PODS = tuple(
    pod(f"p{i}", "app: web", f"10.0.0.{i}").replace("spec: {", f"spec: {{nodeName: n{i}, ") for i in range(1, 6)
)


def groups(policy: str, *more: str, here: str = "n1") -> tuple[Group, ...]:
    texts = (service("web", "http:80"), *NODES, *PODS, destination_rule("d", "web", policy), *more)
    facts = join(config_of(*texts), (), node=here)
    web = facts.services["web.default.svc.cluster.local"]
    settings = Rules(facts.read).policy(web.id, "default").for_port(80)
    members = Registry(facts.read).endpoints(web, web.ports[0])
    return spread(facts.read, settings, members, {})


def told(found: tuple[Group, ...]) -> list[str]:
    """PRIORITY:WEIGHT:last parts of addresses."""
    return [f"{g.priority}:{g.weight}:{','.join(str(m.address).split('.')[-1] for m in g.members)}" for g in found]


OUTLIERS = "outlierDetection: {interval: 1s}"


def wish(words: str, more: str = f", {OUTLIERS}") -> str:
    return f"trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{words}}}}}{more}}}"


@pytest.mark.parametrize(
    ("policy", "here", "expected"),
    [
        ("trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}", "n1", ["0:5:1,2,3,4,5"]),
        (f"trafficPolicy: {{{OUTLIERS}}}", "n1", ["0:1:1", "1:1:2", "2:1:3", "3:1:5", "3:1:4"]),
        (f"trafficPolicy: {{{OUTLIERS}}}", "n3", ["0:1:3", "1:1:1", "1:1:2", "2:1:5", "2:1:4"]),
        (f"trafficPolicy: {{{OUTLIERS}}}", "", ["0:5:1,2,3,4,5"]),
        (wish("enabled: false"), "n1", ["0:5:1,2,3,4,5"]),
        (wish("failover: [{from: r, to: q}]"), "n1", ["0:1:1", "1:1:2", "2:1:3", "3:1:4", "4:1:5"]),
        (wish("failover: [{from: q, to: p}]"), "n1", ["0:1:1", "1:1:2", "2:1:3", "3:1:5", "3:1:4"]),
        (wish("failover: [{from: r, to: q}]", ""), "n1", ["0:5:1,2,3,4,5"]),
        (wish("distribute: [{from: r/z/s, to: {r/z/*: 60, q: 40}}]", ""), "n1", ["0:40:4", "0:30:1", "0:30:2"]),
        (wish("distribute: [{from: r/*, to: {r/z/s: 1, r/z/t: 99}}]", ""), "n3", ["0:1:1", "0:99:2"]),
        (wish("distribute: [{from: q, to: {r: 100}}]", ""), "n1", ["0:1:5", "0:1:4", "0:1:3", "0:1:1", "0:1:2"]),
        (wish("failoverPriority: [topology.istio.io/subzone]"), "n1", ["0:1:1", "1:1:5", "1:1:4", "1:1:3", "1:1:2"]),
    ],
)
def test_order_and_shares(policy: str, here: str, expected: list[str]) -> None:
    assert told(groups(policy, here=here)) == expected


def mesh(words: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    localityLbSetting: {{{words}}}
"""


@pytest.mark.parametrize(
    ("policy", "words", "expected"),
    [
        (f"trafficPolicy: {{{OUTLIERS}}}", "enabled: false", ["0:5:1,2,3,4,5"]),
        (f"trafficPolicy: {{{OUTLIERS}}}", "enabled: true", ["0:1:1", "1:1:2", "2:1:3", "3:1:5", "3:1:4"]),
        (
            f"trafficPolicy: {{{OUTLIERS}}}",
            "failover: [{from: r, to: q}]",
            ["0:1:1", "1:1:2", "2:1:3", "3:1:4", "4:1:5"],
        ),
        (wish("enabled: true"), "enabled: false", ["0:1:1", "1:1:2", "2:1:3", "3:1:5", "3:1:4"]),
        (wish("enabled: true"), "distribute: [{from: r, to: {q: 100}}]", ["0:1:1", "1:1:2", "2:1:3", "3:1:5", "3:1:4"]),
        ("trafficPolicy: {loadBalancer: {simple: RANDOM}}", "distribute: [{from: r, to: {q: 100}}]", ["0:100:4"]),
        ("trafficPolicy: {loadBalancer: {simple: RANDOM}}", "failover: [{from: r, to: q}]", ["0:5:1,2,3,4,5"]),
    ],
)
def test_the_mesh_says_which_places_where_a_rule_does_not(policy: str, words: str, expected: list[str]) -> None:
    """What a rule says takes its place as a whole."""
    assert told(groups(policy, mesh(words), here="n1")) == expected


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (f"trafficPolicy: {{{OUTLIERS}}}", "default;version=v2"),
        ("trafficPolicy: {loadBalancer: {simple: RANDOM}}", ""),
    ],
)
def test_labels_that_the_mesh_compares_are_clusters_where_an_order_can_hold(policy: str, name: str) -> None:
    texts = (service("web", "http:80"), destination_rule("d", "web", policy), mesh("failoverPriority: [version]"))
    facts = join(config_of(*texts), ())
    web = facts.services["web.default.svc.cluster.local"]
    rules = Rules(facts.read)
    assert rules.policy_scope(web.id, Source("default", {"version": "v2"})) == name
    assert rules.labels_compared(web.id, "default") == (frozenset({"version"}) if name else frozenset())


@pytest.mark.parametrize(
    ("policy", "weighted"),
    [
        (f"trafficPolicy: {{{OUTLIERS}}}", False),
        (wish("failover: [{from: r, to: q}]"), True),
        (wish("failoverPriority: [version]"), True),
        (wish("failoverPriority: [version]", ""), False),
        (wish("distribute: [{from: q, to: {r: 100}}]", ""), True),
        (wish("enabled: false, distribute: [{from: q, to: {r: 100}}]"), False),
    ],
)
def test_weights_of_places_count_only_where_somebody_wrote_a_wish(policy: str, weighted: bool) -> None:
    """Otherwise they would make LEAST_REQUEST choose a place first."""
    facts = join(config_of(service("web", "http:80"), destination_rule("d", "web", policy)), ())
    web = facts.services["web.default.svc.cluster.local"]
    assert is_weighted(Rules(facts.read).policy(web.id, "default").for_port(80)) is weighted


def test_an_order_that_puts_all_in_one_place_is_none() -> None:
    texts = (service("web", "http:80"), *PODS, destination_rule("d", "web", f"trafficPolicy: {{{OUTLIERS}}}"))
    facts = join(config_of(*texts), (), node="n1")
    web = facts.services["web.default.svc.cluster.local"]
    settings = Rules(facts.read).policy(web.id, "default").for_port(80)
    assert told(spread(facts.read, settings, Registry(facts.read).endpoints(web, web.ports[0]), {})) == [
        "0:5:1,2,3,4,5"
    ]


@pytest.mark.parametrize("text", ["r/z/s", "r.z.s"])
def test_a_pods_label_says_its_place(text: str) -> None:
    assert Locality.parse(text) == Locality("r", "z", "s")
    assert Locality.parse("r") == Locality("r")
