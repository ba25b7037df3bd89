"""tcp and tls routes of hosts of ServiceEntries, and routes that lead to such hosts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, entry, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.entries import names_to_resolve
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId
from tidegate.model.plan.relay import L4Service
from tidegate.model.tier import Tier

HTTPS = "ports: [{number: 443, name: https, protocol: HTTPS}]"
TCP = "ports: [{number: 7, name: tcp, protocol: TCP}]"
OUTSIDE = ("api.dropboxapi.com", "www.googleapis.com", "api.facebook.com")
RESOLVED = {host: (ip_address(f"192.0.2.{n}"),) for n, host in enumerate(OUTSIDE, 1)}
ME = WorkloadId("default", "client")


def rule(hosts: str, spec: str, *, name: str = "rule") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{hosts}], {spec}}}
"""


def by_name(name: str, to: str) -> str:
    return f"{{match: [{{port: 443, sniHosts: ['{name}']}}], route: [{{destination: {{host: {to}}}}}]}}"


SNI = (
    entry("external-svc-https", ", ".join(OUTSIDE), f"location: MESH_EXTERNAL, {HTTPS}, resolution: DNS"),
    rule(", ".join(OUTSIDE), f"tls: [{', '.join(by_name(host, host) for host in OUTSIDE)}]", name="tls-routing"),
)


def facts_of(*texts: str, resolved: Mapping[str, Any] = RESOLVED) -> Facts:
    config = config_of(ENROLLED, pod("client", "app: client", "10.0.0.9"), *texts)
    return join(config, (sandbox("client", "10.0.0.9"),), node="m", resolved=resolved)


def ways(facts: Facts, host: str) -> list[tuple[tuple[str, ...], list[tuple[str, int]]]]:
    """Of each rule of what everybody sees of a host: names, then endpoints and weight of each target."""
    found: Mapping[int, L4Service] = {s.number: s for s in compile_plan(facts).l4}
    views = next(s for s in found.values() if s.name.startswith(f"{host}:") and s.addresses).views
    return [
        (r.names, [(" ".join(str(e.address) for e in found[t.number].endpoints), t.weight) for t in r.targets])
        for view in views
        for r in view.rules
    ]


def codes(facts: Facts) -> list[str]:
    return [p.code for p in facts.mesh.problems]


def test_the_name_in_the_handshake_decides_whichever_of_the_hosts_was_dialled() -> None:
    """The document's TLS passthrough example."""
    facts = facts_of(*SNI)
    assert not codes(facts)
    for host in OUTSIDE:
        assert sorted(ways(facts, host)) == sorted(((h,), [(str(RESOLVED[h][0]), 1)]) for h in OUTSIDE)
    said = explain(facts, ME, "api.facebook.com", 443)
    assert (said.verdict, said.rule and (said.rule.routes, said.rule.index)) == ("allow", ("tls", 2))
    assert [p.address for p in said.endpoints] == ["192.0.2.3"]
    other = explain(facts, ME, "api.facebook.com", 443, sni="www.googleapis.com")
    assert [p.address for p in other.endpoints] == ["192.0.2.2"]
    assert explain(facts, ME, "api.facebook.com", 443, sni="www.example.com").verdict == "unavailable"


def test_while_a_name_is_not_resolved_connections_come_to_nothing_and_never_elsewhere() -> None:
    facts = facts_of(*SNI, resolved={})
    assert [targets for _, targets in ways(facts, OUTSIDE[0])] == [[("", 1)]] * 3
    assert explain(facts, ME, OUTSIDE[0], 443).verdict == "unavailable"


def test_what_is_written_of_endpoints_holds_behind_routes_too() -> None:
    endpoints = (
        "[{address: 192.0.2.1, weight: 5, labels: {v: a}}, {address: 192.0.2.2, labels: {v: a}}, {address: 192.0.2.3}]"
    )
    facts = facts_of(
        entry("out", "db.example", f"addresses: [10.9.0.1], {TCP}, resolution: STATIC, endpoints: {endpoints}"),
        destination_rule("out", "db.example", "subsets: [{name: a, labels: {v: a}}]"),
        rule("db", "tcp: [{route: [{destination: {host: db.example, subset: a}}]}]"),
        service("db", "tcp:7", ips="10.96.0.1"),
        pod("db", "app: db", "10.0.0.1"),
    )
    plan = compile_plan(facts)
    (found,) = [s for s in plan.l4 if s.name == "db.example:7" and not s.addresses]
    assert [(str(e.address), e.weight) for e in found.endpoints] == [("192.0.2.1", 5), ("192.0.2.2", 1)]
    assert [d.tier for d in plan.destinations if str(d.address) == "10.96.0.1"] == [Tier.FASTPATH]


def test_a_name_under_a_wildcard_has_routes_of_its_own() -> None:
    endpoints = "resolution: STATIC, endpoints: [{address: 192.0.2.1}]"
    facts = facts_of(
        entry("wild", '"*.shop.example"', f"addresses: [10.9.0.1], {HTTPS}, {endpoints}"),
        entry(
            "backup",
            "backup.example",
            f"addresses: [10.9.0.2], {HTTPS}, resolution: STATIC, endpoints: [{{address: 192.0.2.2}}]",
        ),
        rule("www.shop.example", f"tls: [{by_name('www.shop.example', 'backup.example')}]"),
    )
    assert ways(facts, "*.shop.example") == [(("www.shop.example",), [("192.0.2.2", 1)])]
    said = explain(facts, ME, "www.shop.example", 443)
    assert [p.address for p in said.endpoints] == ["192.0.2.2"]


@pytest.mark.parametrize("addresses", ["", "addresses: [10.9.0.1], "])
def test_routes_of_a_host_that_is_reached_as_dialled_hold(addresses: str) -> None:
    host = entry("none", "none.example", f"{addresses}{TCP}, resolution: NONE")
    facts = facts_of(
        host,
        entry("to", "to.example", f"{TCP}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]"),
        rule("none.example", "tcp: [{route: [{destination: {host: to.example}}]}]"),
    )
    assert codes(facts) == []
    (served,) = [s for s in compile_plan(facts).l4 if s.views]
    assert served.name.startswith("none.example")


def test_routes_for_ports_that_a_host_does_not_have_are_told_as_of_any_service() -> None:
    facts = facts_of(
        entry("out", "out.example", f"{TCP}, resolution: DNS"),
        rule("out.example", f"tls: [{by_name('out.example', 'out.example')}]"),
    )
    assert codes(facts) == ["TG0515"]


def test_a_rule_of_the_entrys_own_namespace_is_everybodys() -> None:
    facts = facts_of(
        entry("out", "out.example", f"{TCP}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]"),
        destination_rule("out", "out.example", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}"),
    )
    (served,) = compile_plan(facts).l4
    assert (served.views, served.settings.max_connections) == ((), 3)


def test_names_to_which_routes_lead_are_resolved_whatever_their_ports_are() -> None:
    facts = facts_of(entry("web", "web.example", "ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS"))
    assert names_to_resolve(facts.services, {}) == set()
    assert names_to_resolve(facts.services, {}, {"web.example"}) == {"web.example"}
