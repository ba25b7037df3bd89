"""ServiceEntries as part of the registry: who is found behind a host, at which addresses, and how Envoy and the fast
path are told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, entry, pod, sandbox, service, virtual_service

from tidegate.compile.allocation import RANGE, allocate
from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.tier import Tier

CLIENT = pod("client", "app: client", "10.0.0.9")
ME = WorkloadId("default", "client")


def workload(name: str, spec: str, *, namespace: str = "default") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"""


HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]"
TCP = "ports: [{number: 27018, name: mongodb, protocol: MONGO}]"


def facts_of(*texts: str) -> Facts:
    return join(config_of(ENROLLED, CLIENT, *texts), (sandbox("client", "10.0.0.9"),), node="m")


def plan_of(*texts: str) -> Plan:
    return compile_plan(facts_of(*texts))


def cluster_of(plan: Plan, name: str) -> dict[str, Any]:
    return dict(plan.envoy["clusters"][name].body)


def hosts_of(body: dict[str, Any]) -> list[Any]:
    assignment = body.get("load_assignment", body)
    return [e["endpoint"]["address"] for group in assignment["endpoints"] for e in group["lb_endpoints"]]


def told(plan: Plan, name: str) -> list[str]:
    """Addresses that Envoy is told of a cluster."""
    found = hosts_of(dict(plan.envoy["endpoints"][name].body))
    return [f"{a['socket_address']['address']}:{a['socket_address']['port_value']}" for a in found]


def relayed(plan: Plan) -> dict[str, list[str]]:
    return {s.name: [f"{e.address}:{e.port}" for e in s.endpoints] for s in plan.l4}


def test_a_database_behind_a_range_of_virtual_addresses_is_served_at_each_of_them() -> None:
    endpoints = "resolution: STATIC, endpoints: [{address: 192.0.2.2}, {address: 192.0.2.3}]"
    plan = plan_of(entry("mongo", "mymongodb.somedomain", f"addresses: [192.192.192.192/24], {TCP}, {endpoints}"))
    rows = [d for d in plan.destinations if d.port == 27018]
    assert len(rows) == 256
    assert {row.tier for row in rows} == {Tier.FASTPATH}
    assert ip_address("192.192.192.7") in {row.address for row in rows}
    assert relayed(plan) == {"mymongodb.somedomain:27018": ["192.0.2.2:27018", "192.0.2.3:27018"]}


def test_static_endpoints_have_the_port_and_the_weight_that_is_written() -> None:
    ports = "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]"
    endpoints = "endpoints: [{address: 192.0.2.1, ports: {http: 9090}, weight: 3}, {address: 192.0.2.2}]"
    plan = plan_of(entry("a", "a.example", f"addresses: [10.9.0.1], {ports}, resolution: STATIC, {endpoints}"))
    name = "outbound|80||a.example"
    assert cluster_of(plan, name)["type"] == "EDS"
    assert told(plan, name) == ["192.0.2.1:9090", "192.0.2.2:8080"]
    group = plan.envoy["endpoints"][name].body["endpoints"][0]
    assert [e["load_balancing_weight"] for e in group["lb_endpoints"]] == [3, 1]
    assert group["load_balancing_weight"] == 4
    assert ("10.9.0.1:80") in plan.envoy["scopes"]


def test_weights_hold_on_the_fast_path_too() -> None:
    endpoints = "endpoints: [{address: 192.0.2.1, weight: 3}, {address: 192.0.2.2}]"
    plan = plan_of(entry("a", "a.example", f"addresses: [10.9.0.1], {TCP}, resolution: STATIC, {endpoints}"))
    assert [(str(e.address), e.weight) for s in plan.l4 for e in s.endpoints] == [("192.0.2.1", 3), ("192.0.2.2", 1)]


def test_names_are_resolved_by_envoy_each_at_its_own_port() -> None:
    """The document's HTTP proxy example: three names, three ports."""
    endpoints = ", ".join(
        f"{{address: {c}.foo.bar.com, ports: {{https: {p}}}}}" for c, p in (("us", 8080), ("in", 7080))
    )
    ports = "ports: [{number: 80, name: https, protocol: HTTP}]"
    plan = plan_of(
        entry("dns", "foo.bar.com", f"addresses: [10.9.0.1], {ports}, resolution: DNS, endpoints: [{endpoints}]")
    )
    body = cluster_of(plan, "outbound|80||foo.bar.com")
    assert (body["type"], body.get("respect_dns_ttl"), body.get("dns_refresh_rate")) == ("STRICT_DNS", True, "60s")
    assert "eds_cluster_config" not in body
    assert [tuple(a["socket_address"].values()) for a in hosts_of(body)] == [
        ("us.foo.bar.com", 8080),
        ("in.foo.bar.com", 7080),
    ]
    assert "outbound|80||foo.bar.com" not in plan.envoy["endpoints"]


def test_the_mesh_says_how_often_envoy_asks_for_a_name() -> None:
    rate = """
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: istio, namespace: istio-system}
    data: {mesh: "dnsRefreshRate: 1500ms"}
    """
    alias = """
    apiVersion: v1
    kind: Service
    metadata: {name: alias, namespace: default}
    spec: {type: ExternalName, externalName: outside.example, ports: [{name: http, port: 80}]}
    """
    plan = plan_of(entry("wiki", "wikipedia.org", f"{HTTP}, resolution: DNS"), alias, rate)
    names = ("outbound|80||wikipedia.org", "outbound|80||alias.default.svc.cluster.local")
    assert [cluster_of(plan, name)["dns_refresh_rate"] for name in names] == ["1.500s", "1.500s"]


def test_a_host_without_endpoints_is_resolved_itself() -> None:
    plan = plan_of(entry("wiki", "wikipedia.org", f"{HTTP}, resolution: DNS"))
    body = cluster_of(plan, "outbound|80||wikipedia.org")
    assert [a["socket_address"]["address"] for a in hosts_of(body)] == ["wikipedia.org"]


def test_round_robin_takes_one_name() -> None:
    plan = plan_of(entry("wiki", "wikipedia.org", f"{HTTP}, resolution: DNS_ROUND_ROBIN"))
    assert cluster_of(plan, "outbound|80||wikipedia.org")["type"] == "LOGICAL_DNS"


def test_resolution_none_goes_where_it_is_dialled() -> None:
    ports = (
        "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 81, name: tcp, protocol: TCP}]"
    )
    plan = plan_of(entry("none", "none.example", f"addresses: [10.9.0.1], {ports}"))
    body = cluster_of(plan, "outbound|80||none.example")
    assert (body["type"], body["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert body["original_dst_lb_config"] == {"upstream_port_override": 8080}
    assert [d.tier for d in plan.destinations if str(d.address) == "10.9.0.1"] == [Tier.ENVOY, Tier.FASTPATH]


def test_subsets_choose_endpoints_by_the_labels_that_are_written() -> None:
    rule = destination_rule("a", "a.example", "subsets: [{name: v1, labels: {version: v1}}]")
    endpoints = "endpoints: [{address: 192.0.2.1, labels: {version: v1}}, {address: 192.0.2.2}]"
    static = entry("a", "a.example", f"addresses: [10.9.0.1], {HTTP}, resolution: STATIC, {endpoints}")
    assert told(plan_of(static, rule), "outbound|80|v1|a.example") == ["192.0.2.1:80"]
    names = "endpoints: [{address: one.example, labels: {version: v1}}, {address: two.example}]"
    by_name = entry("a", "a.example", f"addresses: [10.9.0.1], {HTTP}, resolution: DNS, {names}")
    body = cluster_of(plan_of(by_name, rule), "outbound|80|v1|a.example")
    assert [a["socket_address"]["address"] for a in hosts_of(body)] == ["one.example"]


def test_localities_and_names_of_certificates_are_those_that_are_written() -> None:
    at = "addresses: [10.9.0.1], subjectAltNames: [server.example]"
    where = "resolution: STATIC, endpoints: [{address: 192.0.2.1, locality: b/z}, {address: 192.0.2.2, locality: a/z}]"
    order = "{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}, outlierDetection: {interval: 1s}"
    here = "apiVersion: v1\nkind: Node\nmetadata: {name: m, labels: {topology.kubernetes.io/region: a}}\n"
    written = entry("a", "a.example", f"{at}, {HTTP}, {where}")
    rule = destination_rule("a", "a.example", f"trafficPolicy: {order}, tls: {{mode: SIMPLE}}}}")
    plan = plan_of(here, written, rule)
    name = "outbound|80||a.example"
    groups = plan.envoy["endpoints"][name].body["endpoints"]
    assert [(g["locality"]["region"], g.get("priority", 0)) for g in groups] == [("a", 0), ("b", 1)]
    context = cluster_of(plan, name)["transport_socket"]["typed_config"]["common_tls_context"]
    wanted = context["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]
    assert [one["matcher"] for one in wanted] == [{"exact": "server.example"}]
    own = rule.replace("mode: SIMPLE", "mode: SIMPLE, subjectAltNames: [rule.example]")
    assert "rule.example" in str(cluster_of(plan_of(here, written, own), name)["transport_socket"])


def test_a_host_is_seen_where_it_is_exported_to() -> None:
    there = "addresses: [10.9.0.1], resolution: STATIC, endpoints: [{address: 192.0.2.1}]"
    plan = plan_of(entry("a", "a.example", f'{there}, {TCP}, exportTo: ["."]', namespace="other"))
    assert not [row for row in plan.destinations if row.scope and str(row.address) == "10.9.0.1"]
    assert plan.pods[0].scope, "the client's own rows lack it"


def test_a_selector_finds_pods_and_workload_entries_of_its_namespace() -> None:
    selects = f"addresses: [10.9.0.1], {HTTP}, resolution: STATIC, workloadSelector: {{labels: {{app: db}}}}"
    plan = plan_of(
        entry("db", "db.example", selects),
        pod("db-1", "app: db", "10.0.0.1"),
        pod("starting", "app: db", "10.0.0.2", ready=False),
        pod("elsewhere", "app: db", "10.0.0.3", namespace="other"),
        workload("vm", "address: 192.0.2.7, labels: {app: db}, ports: {http: 8080}"),
        workload("other", "address: 192.0.2.8, labels: {app: web}"),
        workload("far", "address: 192.0.2.9, labels: {app: db}", namespace="other"),
    )
    assert told(plan, "outbound|80||db.example") == ["10.0.0.1:80", "192.0.2.7:8080"]


def test_a_service_of_kubernetes_finds_workload_entries_by_its_selector() -> None:
    plan = plan_of(
        service("web", "http:80:8080", ips="10.96.0.1"),
        pod("web-1", "app: web", "10.0.0.1"),
        workload("vm", "address: 192.0.2.7, labels: {app: web}, ports: {http: 9090}"),
    )
    assert told(plan, "outbound|80||web.default.svc.cluster.local") == ["10.0.0.1:8080", "192.0.2.7:9090"]


def test_kubernetes_service_wins_over_an_entry_of_its_name() -> None:
    host = "web.default.svc.cluster.local"
    mine = entry("web", host, f"addresses: [10.9.0.1], {HTTP}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]")
    web = service("web", "http:80", ips="10.96.0.1")
    facts = facts_of(mine, web, pod("web-1", "app: web", "10.0.0.1"))
    assert told(compile_plan(facts), f"outbound|80||{host}") == ["10.0.0.1:80"]
    assert [p.code for p in facts.mesh.problems] == ["TG0521"]
    without = config_of(ENROLLED, CLIENT, mine)
    assert told(compile_plan(join(without, (sandbox("client", "10.0.0.9"),), facts)), f"outbound|80||{host}") == [
        "192.0.2.1:80"
    ], "and when it goes the entry is used"


def test_entries_of_one_host_and_namespace_are_one_service() -> None:
    at = "addresses: [10.9.0.1], resolution: STATIC"
    facts = facts_of(
        entry("a", "a.example", f"{at}, {HTTP}, endpoints: [{{address: 192.0.2.1}}]"),
        entry("b", "a.example", f"{at}, {TCP}, endpoints: [{{address: 192.0.2.2}}]"),
        entry("c", "a.example", f"{at}, {TCP}, endpoints: [{{address: 192.0.2.3}}]", namespace="other"),
    )
    plan = compile_plan(facts)
    assert told(plan, "outbound|80||a.example") == ["192.0.2.1:80"]
    assert relayed(plan) == {"a.example:27018": ["192.0.2.2:27018"]}
    assert [(p.code, p.about.name) for p in facts.mesh.problems] == [("TG0521", "c")]


def test_a_rule_leads_requests_of_a_service_to_an_entry() -> None:
    outside = entry("out", "api.example", f"{HTTP}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]")
    rule = virtual_service("web", "web", "- route: [{destination: {host: api.example}}]")
    plan = plan_of(outside, rule, service("web", "http:80", ips="10.96.0.1"), pod("web-1", "app: web", "10.0.0.1"))
    routes = plan.envoy["routes"]["web.default.svc.cluster.local:80"].body["virtual_hosts"]
    assert routes[0]["routes"][0]["route"]["cluster"] == "outbound|80||api.example"


def test_rules_hold_for_an_entry_by_its_host() -> None:
    outside = entry("out", "api.example", f"{HTTP}, resolution: DNS")
    rule = virtual_service("api", "api.example", "- timeout: 5s\n  route: [{destination: {host: api.example}}]")
    facts = facts_of(outside, rule)
    routes = compile_plan(facts).envoy["routes"]["api.example:80"].body["virtual_hosts"]
    assert routes[0]["routes"][0]["route"]["timeout"] == "5s"
    assert not facts.mesh.problems
    said = explain(facts, ME, "api.example", 80)
    assert said.verdict == "allow"
    assert [(p.address, p.port) for p in said.endpoints] == [("api.example", 80)]


def test_hosts_without_addresses_get_one_of_the_reserved_range() -> None:
    first, second = (
        entry("a", "a.example", f"{HTTP}, resolution: DNS"),
        entry("b", "b.example", f"{HTTP}, resolution: DNS"),
    )
    facts = facts_of(first, second)
    found = {host: facts.services[host].addresses for host in ("a.example", "b.example")}
    assert all(address in RANGE for addresses in found.values() for address in addresses)
    assert len({*found.values()}) == 2
    assert facts_of(second, first).services["a.example"].addresses == found["a.example"], "whatever stands beside it"
    assert facts_of(second).services["b.example"].addresses == found["b.example"]


@pytest.mark.parametrize(
    "text",
    [
        entry("a", "a.example", f"{HTTP}, resolution: NONE"),
        entry(
            "a",
            "a.example",
            f"{HTTP}, resolution: DNS",
            more='labels: {networking.istio.io/enable-autoallocate-ip: "false"}',
        ),
    ],
)
def test_no_address_is_given_where_none_may_be(text: str) -> None:
    assert facts_of(text).services["a.example"].addresses == ()


def test_addresses_that_istio_wrote_down_are_used_and_given_to_nobody_else() -> None:
    wants = entry("b", "b.example", f"{HTTP}, resolution: DNS")
    (given,) = facts_of(wants).services["b.example"].addresses
    status = f"status: {{addresses: [{{value: {given}, host: a.example}}, {{value: '2001:2::7', host: a.example}}]}}\n"
    facts = facts_of(entry("a", "a.example", f"{HTTP}, resolution: DNS") + status, wants)
    assert [str(a) for a in facts.services["a.example"].addresses] == [str(given), "2001:2::7"]
    assert facts.services["b.example"].addresses != (given,)


def test_who_is_older_keeps_its_address_when_another_wants_the_same() -> None:
    taken = allocate(["old.example"])["old.example"]
    assert allocate(["new.example"], [taken])["new.example"] != taken
    assert allocate(["old.example", "new.example"])["old.example"] == taken
    many = allocate(f"host-{n}.example" for n in range(RANGE.num_addresses + 10))
    assert len(many) == len(set(many.values())) == RANGE.num_addresses - 2, "as many as there are"


def test_an_entry_without_anybody_refuses_connections_instead_of_letting_them_pass() -> None:
    plan = plan_of(entry("a", "a.example", f"addresses: [10.9.0.1], {TCP}, resolution: STATIC"))
    assert [d.tier for d in plan.destinations if d.port == 27018] == [Tier.REFUSE]


def test_a_pod_of_a_stateful_set_is_found_by_its_own_name() -> None:
    member = pod("db-0", "app: db", "10.0.0.1").replace("spec: {", "spec: {subdomain: db, ")
    stranger = pod("db-1", "app: db", "10.0.0.2")
    facts = facts_of(service("db", "http:80", ips="None"), member, stranger)
    said = explain(facts, ME, "db-0.db", 80)
    assert [(p.address, p.pod) for p in said.endpoints] == [("10.0.0.1", "default/db-0")]
    assert explain(facts, ME, "db-1.db", 80).reason == "unknown destination, passes untouched"


def test_a_name_under_a_wildcard_means_the_entry() -> None:
    wild = entry(
        "w",
        '"*.shop.example"',
        f"addresses: [10.9.0.1], {HTTP}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]",
    )
    said = explain(facts_of(wild), ME, "any.shop.example", 80)
    assert (said.service, [p.address for p in said.endpoints]) == ("*.shop.example", ["192.0.2.1"])


def test_hosts_at_one_address_are_told_apart_by_the_request() -> None:
    both = entry("both", "a.example, b.example", f"addresses: [10.9.0.1], {HTTP}, resolution: DNS")
    rule = virtual_service("b", "b.example", "- timeout: 5s\n  route: [{destination: {host: b.example}}]")
    facts = facts_of(both, rule)
    (routes,) = compile_plan(facts).envoy["routes"].values()
    found = {host["domains"][0]: host["routes"][0]["route"] for host in routes.body["virtual_hosts"]}
    assert found["*"]["cluster"] == "outbound|80||a.example"
    assert (found["*]b.example"]["cluster"], found["*]b.example"]["timeout"]) == ("outbound|80||b.example", "5s")
    said = [explain(facts, ME, host, 80) for host in ("a.example", "b.example")]
    assert [[p.address for p in one.endpoints] for one in said] == [["a.example"], ["b.example"]]
