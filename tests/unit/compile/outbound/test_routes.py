"""Route configurations: whose they are, what they are called, what is in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import re2
from tests.support.configs import config_of, destination_rule, service, virtual_service

from tidegate.compile.derive import Read
from tidegate.compile.facts import join
from tidegate.compile.outbound.routes import RouteCompiler
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.visibility import Source
from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef

REVIEWS = service("reviews", "http:9080", ips="10.96.0.1")
NAME = "reviews.default.svc.cluster.local:9080"
CLUSTER = "outbound|9080|{}|reviews.default.svc.cluster.local"


def compiled(config: Mesh, *sources: Source, name: str = "reviews") -> EnvoyResource:
    """The routes of a service's first port on a node with pods pod0, pod1 ... of these sources."""
    read = Read(join(config, ()).tables)
    registry = Registry(read)
    found = registry.services[f"{name}.default.svc.cluster.local"]
    clients = {f"pod{n}": source for n, source in enumerate(sources)}
    return RouteCompiler(registry, Rules(read), clients).compile(found, found.ports[0])


def virtual_host(resource: EnvoyResource, client: str = "anybody", host: str = "reviews") -> dict[str, Any] | None:
    """The virtual host that Envoy would take: an exact domain, else the longest one that ends so, else begins so."""
    key = f"{client}]{host}"

    def rank(domain: str) -> tuple[int, int] | None:
        if domain == key:
            return (3, 0)
        if domain.startswith("*") and domain != "*" and key.endswith(domain[1:]):
            return (2, len(domain))
        if domain.endswith("*") and domain != "*" and key.startswith(domain[:-1]):
            return (1, len(domain))
        return (0, 0) if domain == "*" else None

    fitting = [(r, h) for h in resource.body["virtual_hosts"] for d in h["domains"] if (r := rank(d)) is not None]
    return max(fitting, key=lambda found: found[0])[1] if fitting else None


def routes(config: Mesh, source: Source | None = None, host: str = "reviews") -> list[dict[str, Any]]:
    """What a client of this source gets when it asks for the host at the service's address."""
    found = virtual_host(compiled(config, source or Source("default")), "pod0", host)
    assert found is not None
    return [route for route in found["routes"] if "connect_matcher" not in route["match"]]


def tunnels(config: Mesh, source: Source | None = None, host: str = "reviews") -> list[dict[str, Any]]:
    """The same for CONNECT."""
    found = virtual_host(compiled(config, source or Source("default")), "pod0", host)
    assert found is not None
    return [route for route in found["routes"] if "connect_matcher" in route["match"]]


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: reviews, subset: {subset}}}}}]"


def test_default_route() -> None:
    made = compiled(config_of(REVIEWS))
    assert made.name == NAME
    assert [h["domains"] for h in made.body["virtual_hosts"]] == [["*"], ["*]no-host.invalid"]]
    assert made.body["ignore_port_in_host_matching"]
    assert made.body["vhost_header"] in made.body["request_headers_to_remove"]
    assert made.refs == {ResourceRef(CLUSTERS, CLUSTER.format(""))}
    route, tunnel = made.body["virtual_hosts"][0]["routes"]
    assert (tunnel["match"], tunnel["route"]) == ({"connect_matcher": {}}, route["route"])
    assert route["route"]["cluster"] == CLUSTER.format("")
    assert route["route"]["timeout"] == "0s", "Envoy's own default would be 15 s"
    assert route["route"]["retry_policy"]["num_retries"] == 2
    assert route["route"]["retry_policy"]["retry_on"] == (
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    )


def test_a_request_passes_only_the_filters_that_its_route_needs() -> None:
    plain = compiled(config_of(REVIEWS)).body.get("typed_per_filter_config", {})
    assert set(plain) == {"envoy.filters.http.on_demand", "envoy.filters.http.fault", "envoy.filters.http.cors"}
    assert all(setting["disabled"] is True for setting in plain.values())
    fault = """
    - fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
      route: [{destination: {host: reviews}}]
    """
    (route,) = routes(config_of(REVIEWS, virtual_service("v", "reviews", fault)))
    (setting,) = route["typed_per_filter_config"].items()
    assert setting[0] == "envoy.filters.http.fault"
    assert "disabled" not in setting[1], "the route's own setting brings its filter back"


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


def test_clients_with_other_routes_have_virtual_hosts_of_their_own() -> None:
    http = f"""
    - match: [{{sourceLabels: {{env: prod}}}}]
      {to("v1")}
    - {to("v2")}
    """
    config = config_of(REVIEWS, virtual_service("v", "reviews", http))
    made = compiled(
        config,
        Source("default", {"app": "x"}),
        Source("default", {"app": "x", "env": "prod"}),
        Source("default", {"app": "y", "env": "prod"}),
    )
    assert made.name == NAME
    clusters = []
    for client in ("pod0", "pod1", "pod2"):
        found = virtual_host(made, client)
        assert found is not None
        clusters.append(found["routes"][0]["route"]["cluster"])
    assert clusters == [CLUSTER.format("v2"), CLUSTER.format("v1"), CLUSTER.format("v1")]
    assert virtual_host(made, "pod1") is virtual_host(made, "pod2"), "equal routes are there once"
    assert {ref.name for ref in made.refs} == {CLUSTER.format("v1"), CLUSTER.format("v2")}


def test_who_asks_makes_no_difference_to_a_service_whose_rules_do_not_look() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}"))
    sources = [Source("default", {"app": "x"}), Source("shop", {"env": "prod"})]
    assert compiled(config, *sources) == compiled(config)


def test_a_name_stays_what_it_is_when_a_route_is_edited() -> None:
    http = f"- match: [{{sourceNamespace: shop}}]\n  {to('v1')}\n- {to('v2')}"
    first = compiled(config_of(REVIEWS, virtual_service("v", "reviews", http)), Source("shop"))
    second = compiled(config_of(REVIEWS, virtual_service("v", "reviews", http.replace("v1", "v3"))), Source("shop"))
    assert first.name == second.name == NAME
    assert first.body != second.body


def test_a_request_without_a_host_is_one_for_the_service() -> None:
    http = f"""
    - match: [{{authority: {{exact: other.example}}}}]
      {to("other")}
    - match: [{{uri: {{prefix: /moved}}}}]
      redirect: {{uri: /new}}
    - match: [{{authority: {{prefix: reviews.default}}}}]
      {to("mine")}
    """
    fqdn = "reviews.default.svc.cluster.local"
    moved, mine = routes(config_of(REVIEWS, virtual_service("v", "reviews", http)), host="no-host.invalid")
    assert moved["redirect"]["host_redirect"] == fqdn
    assert mine["route"]["cluster"] == CLUSTER.format("mine")
    assert mine["route"]["host_rewrite_literal"] == fqdn
    assert "headers" not in mine["match"]
    (default,) = routes(config_of(REVIEWS), host="no-host.invalid")
    assert default["route"]["host_rewrite_literal"] == fqdn


def test_visibility_by_export_to() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}", more="exportTo: ['.']"))
    assert routes(config)[0]["route"]["cluster"] == CLUSTER.format("v1")
    assert routes(config, Source("shop"))[0]["route"]["cluster"] == CLUSTER.format("")


def test_connect_takes_the_routes_that_do_not_look_at_a_path() -> None:
    http = f"""
    - match: [{{uri: {{prefix: /a}}}}, {{headers: {{x: {{exact: y}}}}}}]
      {to("v1")}
    - match: [{{queryParams: {{a: {{exact: b}}}}}}]
      {to("v2")}
    - match: [{{method: {{exact: CONNECT}}}}]
      rewrite: {{uri: /}}
      {to("v3")}
    - redirect: {{uri: /new}}
    """
    (made,) = tunnels(config_of(REVIEWS, virtual_service("v", "reviews", http)))
    assert made["route"]["cluster"] == CLUSTER.format("v1")
    assert [h["name"] for h in made["match"]["headers"]] == ["x"]


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
        assert len(compiled(config).body["virtual_hosts"]) == 2, "a wildcard over services is no other host"


def test_hosts_that_are_no_service_are_found_whoever_asks() -> None:
    rule = virtual_service("v", "reviews.example, 'fd00::7'", f"- {to('v1')}")
    made = compiled(config_of(REVIEWS, rule))
    for host in ("reviews.example", "[fd00::7]"):
        found = virtual_host(made, "shop/pod", host)
        assert found is not None
        assert found["routes"][0]["route"]["cluster"] == CLUSTER.format("v1")
    other = virtual_host(made, "shop/pod", "x.reviews.example")
    assert other is not None
    assert other["routes"][0]["name"] == "default"


def test_wildcard_hosts_that_are_no_service_are_told_apart_by_routes_longest_first() -> None:
    wide = virtual_service("wide", "'*.example'", f"- {to('wide')}")
    narrow = virtual_service("narrow", "'*.b.example'", f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('narrow')}")
    made = routes(config_of(REVIEWS, wide, narrow))
    assert [r["name"] for r in made] == [
        "default/narrow[0]",
        "*.b.example:none",
        "default/wide[0]",
        "*.example:none",
        "default",
    ]
    conditions = [r["match"]["headers"][-1] for r in made[:-1]]
    assert {c["name"] for c in conditions} == {":authority"}
    patterns = [c["string_match"]["safe_regex"]["regex"] for c in conditions]
    assert re2.fullmatch(patterns[0], "A.b.Example:80")
    assert not re2.fullmatch(patterns[0], "b.example")
    assert not re2.fullmatch(patterns[2], "a.examples")


def test_a_host_that_is_hidden_from_a_client_leads_it_to_the_service() -> None:
    rule = virtual_service("v", "reviews.example", f"- {to('v1')}", more="exportTo: ['.']")
    made = compiled(config_of(REVIEWS, rule), Source("default"), Source("shop"))
    mine, shops = virtual_host(made, "pod0", "reviews.example"), virtual_host(made, "pod1", "reviews.example")
    assert mine is not None
    assert shops is not None
    assert mine["routes"][0]["route"]["cluster"] == CLUSTER.format("v1")
    assert shops["routes"][0]["name"] == "default"


def test_a_subset_that_cannot_exist_leads_nowhere() -> None:
    mesh = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}"))
    (rule,) = mesh.virtual_services
    (weighted,) = rule.http[0].targets
    odd = replace(weighted, target=replace(weighted.target, subset="v1@shop"))  # no document can say this
    made = compiled(replace(mesh, virtual_services=(replace(rule, http=(replace(rule.http[0], targets=(odd,)),)),)))
    assert made.body["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == "BlackHoleCluster"
    assert not made.refs


def test_no_part_of_a_resource_is_shared() -> None:
    """Who patches one part of a configuration must not patch another one."""
    rule = virtual_service("v", "'*.cluster.local', other.example", f"- timeout: 1s\n  {to('v1')}")
    made = [compiled(config_of(REVIEWS, rule)).body for _ in range(2)]
    seen: set[int] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict | list):
            assert id(value) not in seen, value
            seen.add(id(value))
            for part in value.values() if isinstance(value, dict) else value:
                walk(part)

    for body in made:
        walk(body)


def test_origins_name_the_service_and_the_rule() -> None:
    config = config_of(REVIEWS, virtual_service("v", "reviews", f"- {to('v1')}"))
    assert [str(o) for o in compiled(config).origins] == [
        "Service default/reviews (0.yaml:2)",
        "VirtualService default/v (1.yaml:2)",
    ]


def test_a_client_whose_namespace_has_its_own_policy_uses_its_own_cluster() -> None:
    host = "reviews.default.svc.cluster.local"
    own = destination_rule("d", host, "trafficPolicy: {loadBalancer: {simple: RANDOM}}", namespace="shop")
    (route,) = routes(config_of(REVIEWS, own), Source("shop"))
    assert route["route"]["cluster"] == CLUSTER.format("@shop")
