"""Route configurations: whose they are, what they are called, what is in them."""

from __future__ import annotations

from typing import Any

from tests.support.configs import config_of, destination_rule, service, virtual_service

from tidegate.compile.facts import join
from tidegate.compile.registry import Registry
from tidegate.compile.routes import Compiled, RouteCompiler
from tidegate.compile.rules import Rules, Source
from tidegate.model.mesh import Mesh

REVIEWS = service("reviews", "http:9080", ips="10.96.0.1")
NAME = "reviews.default.svc.cluster.local:9080"
CLUSTER = "outbound|9080|{}|reviews.default.svc.cluster.local"


def compiled(config: Mesh, source: Source | None = None, name: str = "reviews") -> Compiled:
    registry = Registry(join(config, ()))
    found = registry.services[f"{name}.default.svc.cluster.local"]
    return RouteCompiler(registry, Rules(config)).compile(found, found.ports[0], source or Source("default"))


def routes(config: Mesh, source: Source | None = None, host: int = 0) -> list[dict[str, Any]]:
    body = compiled(config, source).resource.body
    found: list[dict[str, Any]] = body["virtual_hosts"][host]["routes"]
    return found


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: reviews, subset: {subset}}}}}]"


def test_default_route() -> None:
    made = compiled(config_of(REVIEWS)).resource
    assert made.name == NAME
    (host,) = made.body["virtual_hosts"]
    assert host["domains"] == ["*"]
    assert made.body["ignore_port_in_host_matching"]
    (route,) = host["routes"]
    assert route["route"]["cluster"] == CLUSTER.format("")
    assert route["route"]["timeout"] == "0s", "Envoy's own default would be 15 s"
    assert route["route"]["retry_policy"]["num_retries"] == 2
    assert route["route"]["retry_policy"]["retry_on"] == (
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    )


def test_weights_without_the_zeros() -> None:
    http = """
    - route:
      - {destination: {host: reviews, subset: v1}, weight: 75}
      - {destination: {host: reviews, subset: v2}, weight: 25}
      - {destination: {host: reviews, subset: v3}, weight: 0}
    """
    (route,) = routes(config_of(REVIEWS, virtual_service("v", "reviews", http)))
    clusters = route["route"]["weighted_clusters"]["clusters"]
    assert [(c["name"], c["weight"]) for c in clusters] == [(CLUSTER.format("v1"), 75), (CLUSTER.format("v2"), 25)]


def test_each_match_block_is_a_route_and_a_catch_all_ends_the_list() -> None:
    http = f"""
    - match: [{{uri: {{prefix: /a}}}}, {{headers: {{x: {{exact: y}}}}}}]
      {to("v1")}
    - match: [{{uri: {{prefix: /}}}}]
      {to("v2")}
    - {to("v3")}
    """
    config = config_of(REVIEWS, virtual_service("v", "reviews", http))
    assert [(r["name"], r["match"].get("prefix")) for r in routes(config)] == [
        ("default/v[0]", "/a"),
        ("default/v[0]", "/"),
        ("default/v[1]", "/"),
    ]


def test_port_of_a_destination() -> None:
    two = service("two", "http:80", "http-b:81", ips="10.96.0.2")
    one = service("one", "http:8080", ips="10.96.0.3")
    http = """
    - match: [{uri: {exact: /explicit}}]
      route: [{destination: {host: two, port: {number: 81}}}]
    - match: [{uri: {exact: /only}}]
      route: [{destination: {host: one}}]
    - match: [{uri: {exact: /dialled}}]
      route: [{destination: {host: two}}]
    - route: [{destination: {host: nobody.example}}]
    """
    made = [r["route"]["cluster"] for r in routes(config_of(REVIEWS, one, two, virtual_service("v", "reviews", http)))]
    assert made == [
        "outbound|81||two.default.svc.cluster.local",
        "outbound|8080||one.default.svc.cluster.local",
        "outbound|9080||two.default.svc.cluster.local",
        "outbound|9080||nobody.example",
    ]


def test_clients_with_other_routes_get_a_configuration_of_their_own() -> None:
    http = f"""
    - match: [{{sourceLabels: {{env: prod}}}}]
      {to("v1")}
    - {to("v2")}
    """
    config = config_of(REVIEWS, virtual_service("v", "reviews", http))
    plain = compiled(config, Source("default", {"app": "x"})).resource
    prod = compiled(config, Source("default", {"app": "x", "env": "prod"})).resource
    also_prod = compiled(config, Source("default", {"app": "y", "env": "prod"})).resource
    assert plain.name == NAME
    assert prod.name.startswith(NAME + "@")
    assert also_prod == prod, "labels that no rule looks at make no difference"
    assert routes(config, Source("default", {"env": "prod"}))[0]["route"]["cluster"] == CLUSTER.format("v1")


def test_editing_a_route_keeps_the_name() -> None:
    http = f"- match: [{{sourceNamespace: shop}}]\n  {to('v1')}\n- {to('v2')}"
    first = compiled(config_of(REVIEWS, virtual_service("v", "reviews", http)), Source("shop"))
    second = compiled(config_of(REVIEWS, virtual_service("v", "reviews", http.replace("v1", "v3"))), Source("shop"))
    assert first.resource.name == second.resource.name != NAME
    assert first.resource.body != second.resource.body


def test_visibility_by_export_to() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}", more="exportTo: ['.']"))
    assert routes(config)[0]["route"]["cluster"] == CLUSTER.format("v1")
    assert routes(config, Source("shop"))[0]["route"]["cluster"] == CLUSTER.format("")


def test_a_rule_for_gateways_only_is_not_for_pods() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}", more="gateways: [ingress]"))
    assert routes(config)[0]["route"]["cluster"] == CLUSTER.format("")


def test_a_rule_without_a_route_for_this_port_leaves_the_service_alone() -> None:
    http = f"- match: [{{port: 80}}]\n  {to('v1')}"
    assert routes(config_of(REVIEWS, virtual_service("v", "reviews", http)))[0]["name"] == "default"


def test_exact_hosts_before_longer_wildcards_before_shorter_and_the_older_first() -> None:
    wide = virtual_service("wide", "'*.cluster.local'", f"- {to('wide')}")
    narrow = virtual_service("narrow", "'*.default.svc.cluster.local'", f"- {to('narrow')}")
    exact = virtual_service("exact", "reviews", f"- {to('exact')}")
    younger = virtual_service("younger", "reviews", f"- {to('younger')}")
    oldest = virtual_service("oldest", "reviews", f"- {to('oldest')}").replace(
        "name: oldest,", "name: oldest, creationTimestamp: '2020-01-01T00:00:00Z',"
    )
    for rules, winner in (
        ((wide, narrow), "narrow"),
        ((wide, narrow, exact), "exact"),
        ((exact, younger), "exact"),
        ((exact, younger, oldest), "oldest"),
    ):
        config = config_of(REVIEWS, *rules)
        assert routes(config)[0]["route"]["cluster"] == CLUSTER.format(winner)
        assert len(compiled(config).resource.body["virtual_hosts"]) == 1, "a wildcard over services is no other host"


def test_hosts_that_are_no_service_have_virtual_hosts_of_their_own() -> None:
    rule = virtual_service("v", "reviews.example, '*.wild.example', 'fd00::7'", f"- {to('v1')}")
    hosts = compiled(config_of(REVIEWS, rule)).resource.body["virtual_hosts"]
    assert [h["domains"] for h in hosts] == [["*"], ["*.wild.example"], ["[fd00::7]"], ["reviews.example"]]
    assert hosts[0]["routes"][0]["name"] == "default"


def test_origins_name_the_service_and_the_rule() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}"))
    assert [str(o) for o in compiled(config).resource.origins] == [
        "Service default/reviews (0.yaml:2)",
        "VirtualService default/v (1.yaml:2)",
    ]


def test_a_client_whose_namespace_has_its_own_policy_uses_its_own_cluster() -> None:
    host = "reviews.default.svc.cluster.local"
    own = destination_rule("d", host, "trafficPolicy: {loadBalancer: {simple: RANDOM}}", namespace="shop")
    made = compiled(config_of(REVIEWS, own), Source("shop"))
    assert made.resource.body["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == CLUSTER.format("") + "@shop"
    assert {u.scope for u in made.uses} == {"shop"}
