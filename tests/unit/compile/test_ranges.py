"""Connections to whole ranges of addresses: who is meant there, by what, and what each part of the node is told."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import (
    ENROLLED,
    destination_rule,
    entry,
    mesh_config,
    mesh_of,
    pod,
    sandbox,
    service,
)
from tests.support.envoy_static import validate

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.explanation import Explanation
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.compile.ranges import range_at, ranges
from tidegate.model.capture import RANGE_CLIENT_PORT
from tidegate.model.http import HttpRequest
from tidegate.model.names import WorkloadId
from tidegate.model.net import parse_ip
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, ROUTES, SCOPES
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Service
from tidegate.model.tier import Tier

HTTP = "{number: 80, name: http, protocol: HTTP}"
TLS = "{number: 443, name: https, protocol: HTTPS}"
TCP = "{number: 7000, name: tcp, protocol: TCP}"
NONE = "resolution: NONE"
STRICT = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
ME = WorkloadId("default", "client")


def host(name: str, hosts: str, port: str, more: str = NONE, **of: str) -> str:
    return entry(name, f'"{hosts}"', f"ports: [{port}], {more}", **of)


def rule(of: str, routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rule, namespace: default}}
spec: {{hosts: ["{of}"], {routes}}}
"""


def facts_of(*texts: str) -> Facts:
    client = pod("client", "app: client", "10.0.0.1")
    mesh = mesh_of({f"{n}.yaml": text for n, text in enumerate((ENROLLED, client, *texts))})
    assert not [str(p) for p in mesh.problems if p.is_error]
    return join(mesh, (sandbox("client", "10.0.0.1"),))


def plan_of(*texts: str) -> Plan:
    return compile_plan(facts_of(*texts))


def rows(plan: Plan) -> dict[tuple[str, int], tuple[Tier, int]]:
    """Network and port of the rows of ranges -> tier and scope."""
    found = {}
    for row in plan.destinations:
        if row.bits < 128:
            bits = row.bits - (96 if row.address.version == 4 else 0)
            found[f"{row.address}/{bits}", row.port] = (row.tier, row.scope)
    return found


def served(plan: Plan, name: str) -> L4Service:
    (found,) = [s for s in plan.l4 if s.name == name and any(a == ANYWHERE for a, _ in s.addresses)]
    return found


def hosts_of(plan: Plan, port: int) -> dict[str, list[Any]]:
    body = plan.envoy[ROUTES][f"*:{port}"].body
    return {domain: host["routes"] for host in body["virtual_hosts"] for domain in host["domains"]}


def asked(facts: Facts, name: str, port: int, *, authority: str = "", sni: str = "") -> Explanation:
    request = HttpRequest(authority=authority) if authority else None
    return explain(facts, ME, name, port, request, sni)


def test_a_host_without_addresses_is_meant_at_any_and_by_the_name_that_is_asked_for() -> None:
    plan = plan_of(host("bar", "*.bar.com", HTTP))
    assert rows(plan) == {("::/0", 80): (Tier.ENVOY, 0)}
    assert plan.envoy[SCOPES]["*:80"].body["route_configuration_name"] == "*:80"
    bar, _, nothing, *others = hosts_of(plan, 80)["*"]
    assert nothing["direct_response"]["status"] == 404
    assert bar["route"]["cluster"] == "outbound|80||*.bar.com"
    assert bar["match"]["headers"][0]["name"] == ":authority"
    assert {r["route"]["cluster"] for r in others} == {"PassthroughCluster"}
    assert plan.envoy[CLUSTERS]["outbound|80||*.bar.com"].body["type"] == "ORIGINAL_DST"
    assert plan.envoy[CLUSTERS]["PassthroughCluster"].body["type"] == "ORIGINAL_DST"


def test_envoy_tells_these_connections_by_the_clients_port_and_sets_what_routes_are_found_by() -> None:
    plan = plan_of(host("bar", "*.bar.com", HTTP), service("web", "http:80", ips="10.96.0.1"))
    (listener,) = plan.envoy[LISTENERS].values()
    plain, marked = listener.body["filter_chains"]
    assert "filter_chain_match" not in plain
    assert marked["filter_chain_match"] == {"source_ports": [RANGE_CLIENT_PORT]}
    dialled = [_dialled(chain) for chain in (plain, marked)]
    assert dialled == ["%DOWNSTREAM_LOCAL_ADDRESS%", "*:%DOWNSTREAM_LOCAL_PORT%"]
    (without,) = plan_of(service("web", "http:80", ips="10.96.0.1")).envoy[LISTENERS].values()
    assert len(without.body["filter_chains"]) == 1, "who asks for none has none"


def test_a_port_that_others_have_chains_for_has_a_marked_one_too() -> None:
    tls = destination_rule("db", "db", "trafficPolicy: {tls: {mode: SIMPLE}}")
    plan = plan_of(host("bar", "*.bar.com", HTTP), service("db", "tcp:80", ips="10.96.0.2"), tls)
    (listener,) = plan.envoy[LISTENERS].values()
    matches = [chain.get("filter_chain_match", {}) for chain in listener.body["filter_chains"]]
    assert {"destination_port": 80, "source_ports": [RANGE_CLIENT_PORT]} in matches
    assert _dialled(listener.body["default_filter_chain"]) == "%DOWNSTREAM_LOCAL_ADDRESS%"


def _dialled(chain: Any) -> str:
    manager = chain["filters"][-1]["typed_config"]
    first = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"][0]
    value: str = first["append"]["header"]["value"]
    return value


def test_a_rule_for_the_host_holds_and_for_others_it_does_not() -> None:
    route = 'http: [{timeout: 3s, route: [{destination: {host: "*.bar.com"}}]}]'
    facts = facts_of(host("bar", "*.bar.com", HTTP), rule("*.bar.com", route))
    plan = compile_plan(facts)
    first, *_ = hosts_of(plan, 80)["*"]
    assert first["route"]["timeout"] == "3s"
    said = asked(facts, "one.bar.com", 80)
    assert (said.tier, said.service, said.verdict) == ("envoy", "*.bar.com", "allow")
    assert (said.rule is not None, said.route and said.route.timeout_ms) == (True, 3000)
    other = asked(facts, "192.0.2.9", 80, authority="else.example")
    assert (other.tier, other.rule, [e.address for e in other.endpoints]) == ("envoy", None, ["192.0.2.9"])


def test_where_only_the_registry_may_be_reached_other_hosts_are_refused() -> None:
    facts = facts_of(host("bar", "*.bar.com", HTTP), host("tls", "*.tls.com", TLS), STRICT)
    plan = compile_plan(facts)
    assert [r.get("direct_response", {}).get("status") for r in hosts_of(plan, 80)["*"][-2:]] == [502, 502]
    (view,) = served(plan, "*:443").views
    assert [rule.names for rule in view.rules] == [("*.tls.com",)], "what no rule takes is reset"
    assert asked(facts, "one.bar.com", 80).verdict == "allow"
    assert asked(facts, "192.0.2.9", 80, authority="else.example").verdict == "deny"
    assert asked(facts, "192.0.2.9", 443, sni="one.tls.com").verdict == "allow"
    assert asked(facts, "192.0.2.9", 443, sni="else.example").verdict == "unavailable"


def test_tls_goes_by_name_and_what_has_none_of_them_goes_on() -> None:
    plan = plan_of(host("a", "*.a.com", TLS), host("b", "www.a.com", TLS))
    found = served(plan, "*:443")
    (view,) = found.views
    by_number = {s.number: s for s in plan.l4}
    ways = [(rule.names, by_number[rule.targets[0].number].name) for rule in view.rules]
    assert ways == [(("www.a.com",), "www.a.com:443"), (("*.a.com",), "*.a.com:443"), ((), "*:443")]
    assert [(e.address, e.port) for e in found.endpoints] == [(ANYWHERE, 0)]


def test_routes_by_name_come_before_the_host_itself() -> None:
    facts = facts_of(
        host("a", "*.a.com", TLS),
        entry("b", "b.example", f"ports: [{TLS}], resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]"),
        rule("*.a.com", "tls: [{match: [{sniHosts: [www.a.com]}], route: [{destination: {host: b.example}}]}]"),
    )
    said = asked(facts, "192.0.2.9", 443, sni="www.a.com")
    assert [(e.address, e.port) for e in said.endpoints] == [("192.0.2.1", 443)]
    (view,) = served(compile_plan(facts), "*:443").views
    assert [rule.names for rule in view.rules] == [("www.a.com",), ()]


def test_a_wide_range_leads_to_endpoints_and_a_narrower_one_wins() -> None:
    static = "resolution: STATIC, endpoints: [{address: 192.0.2.1, ports: {tcp: 7001}}]"
    facts = facts_of(
        host("wide", "wide.example", TCP, f"addresses: [10.64.0.0/10], {static}"),
        host("narrow", "narrow.example", TCP, "addresses: [10.65.0.0/16], resolution: NONE"),
    )
    plan = compile_plan(facts)
    assert rows(plan) == {("10.64.0.0/10", 7000): (Tier.FASTPATH, 0), ("10.65.0.0/16", 7000): (Tier.FASTPATH, 0)}
    wide = served(plan, "wide.example:7000")
    assert [(str(e.address), e.port) for e in wide.endpoints] == [("192.0.2.1", 7001)]
    assert wide.number == next(row.service for row in plan.destinations if row.bits == 96 + 10)
    narrow = range_at(facts.read, parse_ip("10.65.1.1"), 7000)
    assert (narrow and narrow.network) == ip_network("10.65.0.0/16")
    assert [(e.address, e.port) for e in asked(facts, "10.65.1.1", 7000).endpoints] == [("10.65.1.1", 7000)]
    assert [(e.address, e.port) for e in asked(facts, "10.66.1.1", 7000).endpoints] == [("192.0.2.1", 7001)]
    assert range_at(facts.read, parse_ip("10.65.1.1"), 7001) is None


def test_a_target_port_and_a_policy_hold_where_a_client_dials() -> None:
    port = "{number: 7000, name: tcp, protocol: TCP, targetPort: 7070}"
    pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}, outlierDetection: {interval: 1s}}"
    plan = plan_of(host("any", "any.example", port), destination_rule("r", "any.example", pool))
    found = served(plan, "any.example:7000")
    assert [(e.address, e.port) for e in found.endpoints] == [(ANYWHERE, 7070)]
    assert (found.settings.max_connections, found.settings.outlier) == (3, None)


def test_of_tcp_the_oldest_has_a_port_and_what_speaks_otherwise_is_told_so() -> None:
    facts = facts_of(
        host("one", "one.example", TCP),
        host("two", "two.example", TCP),
        host("web", "web.example", TCP.replace("TCP", "HTTP")),
    )
    (only,) = ranges.function(facts.read, "")
    assert [s.id.fqdn for s, _ in only.members] == ["one.example"]
    told = {p.about.name for p in facts.mesh.problems if p.code == "TG0571"}
    assert told == {"two", "web"}


def test_an_address_of_a_service_is_of_that_service_within_a_range_too() -> None:
    facts = facts_of(
        host("wide", "wide.example", TCP, "addresses: [10.96.0.0/16], resolution: NONE"),
        service("db", "tcp:7000", ips="10.96.0.9"),
    )
    assert asked(facts, "10.96.0.9", 7000).service == "db.default.svc.cluster.local"
    assert asked(facts, "10.96.0.8", 7000).service == "wide.example"


def test_envoy_takes_all_of_it(tmp_path: Path) -> None:
    carried = destination_rule("db", "db", "trafficPolicy: {proxyProtocol: {}}")
    bar = destination_rule("bar", "*.bar.com", "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 7}}}")
    some = (host("bar", "*.bar.com", HTTP), host("www", "www.bar.com", HTTP), host("tls", "*.tls.com", TLS))
    plan = plan_of(*some, service("db", "tcp:80", ips="10.96.0.2"), pod("db-1", "app: db", "10.0.0.2"), carried, bar)
    assert validate(plan.envoy, tmp_path) == ""


def test_who_may_not_see_a_host_has_no_row_of_its_range() -> None:
    hidden = host("bar", "*.bar.com", HTTP, f"{NONE}, exportTo: [.]", namespace="other")
    plan = plan_of(hidden, host("foo", "*.foo.com", TLS))
    (me,) = plan.pods
    assert me.scope != 0
    assert [key for key, (_, scope) in rows(plan).items() if scope == me.scope] == [("::/0", 443)]
    partly = facts_of(hidden, host("foo", "*.foo.com", HTTP))
    assert asked(partly, "one.foo.com", 80).service == "*.foo.com"
    assert asked(partly, "192.0.2.1", 80, authority="one.bar.com").service == ""
    by_client = hosts_of(compile_plan(partly), 80)
    routes = (r for domain in by_client if domain.startswith("default/client]") for r in by_client[domain])
    clusters = {r["route"]["cluster"] for r in routes if "route" in r}
    assert clusters == {"outbound|80||*.foo.com", "PassthroughCluster"}


@pytest.mark.parametrize("port", [HTTP, TLS, TCP])
def test_what_comes_and_goes_leaves_what_there_was(port: str) -> None:
    compiler, before = Compiler(), facts_of(service("web", "http:80", ips="10.96.0.1"))
    first = compiler.compile(before)
    texts = (service("web", "http:80", ips="10.96.0.1"), host("bar", "*.bar.com", port))
    client = pod("client", "app: client", "10.0.0.1")
    both = mesh_of({f"{n}.yaml": text for n, text in enumerate((ENROLLED, client, *texts))})
    with_it = compiler.compile(join(both, before.sandboxes, before))
    assert with_it == compile_plan(join(both, before.sandboxes))
    again = compiler.compile(before)
    assert (again.destinations, again.l4, again.services) == (first.destinations, first.l4, first.services)
