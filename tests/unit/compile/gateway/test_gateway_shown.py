"""Patches and rules at a gateway, each on a resource of its own: what Envoy is asked, and what it is never asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.configs import config_of, service, virtual_service
from tests.support.gateways import LABELS, compiled, gateway, judged, judged_together, server

from tidegate.compile.envoy.patches.checks import HOLDER
from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.shown import RULES, ShownAtGateway
from tidegate.model.envoy_filter import Patch
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.plan.envoy import CHECKS, CLUSTERS, EVERY, LISTENERS, REFUSED, ROUTES, SCOPES, ResourceRef

PAIR = Authority().issue("shop.example")
WEB = service("web", "http:80", "tcp:81", ips="10.96.0.1")
BOTH = "gateways: [istio-system/edge]\n  tcp: [{route: [{destination: {host: web, port: {number: 81}}}]}]"
RULE = virtual_service("v", "'*.example'", "- route: [{destination: {host: web, port: {number: 80}}}]", more=BOTH)
EDGE = gateway(
    "edge",
    server(80, "HTTP", '"*"'),
    server(31400, "TCP", '"*"'),
    server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"),
    server(443, "HTTPS", "api.example", tls="mode: SIMPLE, credentialName: shop", name="api"),
    server(443, "TLS", "db.example", tls="mode: SIMPLE, credentialName: shop", name="db"),
)
BUFFER = """{name: envoy.filters.http.buffer, typed_config: {
"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 7}}"""
LIMIT = """{name: limit, typed_config: {
"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit,
stat_prefix: x, max_connections: 5}}"""


def patch(apply_to: str, operation: str, value: str, match: str = "") -> str:
    conditions = f"context: GATEWAY{', ' if match else ''}{match}"
    flat = " ".join(value.split())
    return f"- applyTo: {apply_to}\n  match: {{{conditions}}}\n  patch: {{operation: {operation}, value: {flat}}}"


def envoy_filter(*patches: str, labels: str = "istio: ingressgateway") -> str:
    listed = "\n".join(indent(one, "  ") for one in patches)
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: istio-system}}
spec:
  workloadSelector: {{labels: {{{labels}}}}}
  configPatches:
{listed}
"""


def shown(*patches: str, before: ShownAtGateway | None = None, labels: str = "istio: ingressgateway") -> GatewayPlan:
    text = envoy_filter(*patches, labels=labels)
    return compiled(
        WEB, RULE, EDGE, PAIR.secret("shop"), text, asked=replace(GatewayPlan(), shown=before or ShownAtGateway())
    )


def bodies(plan: GatewayPlan) -> list[dict[str, Any]]:
    return [dict(resource.body) for resource in plan.shown.listeners.values()]


def chains(plan: GatewayPlan) -> list[list[str]]:
    """Names of the filters of each chain of the one listener that is shown."""
    (body,) = bodies(plan)
    return [[one["name"] for one in chain["filters"]] for chain in body["filter_chains"]]


def test_each_patch_is_shown_where_it_serves_nobody(tmp_path: Path) -> None:
    plan = shown(
        patch("HTTP_FILTER", "INSERT_FIRST", BUFFER),
        patch("HTTP_ROUTE", "MERGE", "{response_headers_to_remove: [x]}"),
        patch("VIRTUAL_HOST", "MERGE", "{include_request_attempt_count: true}"),
        patch("CLUSTER", "MERGE", "{connect_timeout: 3s}"),
        patch("CLUSTER", "ADD", "{name: mine, type: STATIC, connect_timeout: 1s}"),
    )
    names = [f"check|EnvoyFilter istio-system/f patch {n}" for n in range(5)]
    assert list(plan.shown.listeners) == [*names[:3], HOLDER]
    assert plan.shown.listeners[HOLDER].needs(CLUSTERS) == names[3:] == list(plan.shown.clusters)
    everything = plan.judged()
    assert all(name in everything[CLUSTERS] for name in names[3:])
    ports = [body["address"]["socket_address"] for body in bodies(plan)]
    assert len({place["address"] for place in ports}) == 4
    assert not any(body["bind_to_port"] for body in bodies(plan))
    assert all(isinstance(r.judged, Patch) for n, r in plan.shown.listeners.items() if n != HOLDER)
    assert judged(plan, tmp_path) == ""


@pytest.mark.parametrize(
    ("match", "port"), [("", 80), ("listener: {portNumber: 443}", 443), ("listener: {portNumber: 31400}", 0)]
)
def test_a_patch_is_tried_on_the_first_listener_that_it_changes(match: str, port: int) -> None:
    plan = shown(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, match))
    assert len(plan.shown.listeners) == bool(port), "there is no HTTP at 31400"
    if port:
        (body,) = bodies(plan)
        assert ("transport_socket" in body["filter_chains"][0]) == (port == 443)


def test_of_many_chains_one_of_each_kind_is_enough_but_where_they_are_compared(tmp_path: Path) -> None:
    secure = "listener: {portNumber: 443}"
    one = shown(patch("NETWORK_FILTER", "INSERT_FIRST", LIMIT, secure))
    assert [names[0] for names in chains(one)] == ["limit", "limit"]
    whole = shown(patch("FILTER_CHAIN", "MERGE", "{filter_chain_match: {source_ports: [7]}}", secure))
    assert len(chains(whole)) == 3
    same = shown(patch("FILTER_CHAIN", "MERGE_AND_REPLACE_LIST", "{filter_chain_match: {server_names: [x]}}", secure))
    assert "same matching rules" in judged(same, tmp_path)


def test_nothing_is_shown_of_patches_for_others_or_that_change_nothing() -> None:
    http = patch("HTTP_FILTER", "INSERT_FIRST", BUFFER)
    assert not shown(http, labels="istio: other").shown.listeners
    assert not shown(http.replace("GATEWAY", "SIDECAR_OUTBOUND")).shown.listeners
    assert not shown(patch("HTTP_FILTER", "REMOVE", "{}", "listener: {portNumber: 7}")).shown.listeners
    nobody = compiled(WEB, RULE, EDGE, PAIR.secret("shop"), envoy_filter(http))
    assert nobody.judged()[LISTENERS].keys() == nobody.envoy[LISTENERS].keys(), "nobody is asked"


def test_what_cannot_be_made_is_wrong_and_what_did_not_change_is_the_same_object() -> None:
    bad = shown(patch("HTTP_ROUTE", "MERGE", "{name: x}"), patch("CLUSTER", "REMOVE", "{}"))
    (wrong,) = [r for r in bad.shown.listeners.values() if r.wrong]
    assert wrong.name.endswith("patch 1")
    assert "REMOVE" in wrong.wrong
    again = shown(patch("HTTP_ROUTE", "MERGE", "{name: x}"), patch("CLUSTER", "REMOVE", "{}"), before=bad.shown)
    assert again.shown is bad.shown
    other = shown(patch("HTTP_ROUTE", "MERGE", "{name: y}"), before=bad.shown)
    assert other.shown is not bad.shown


def test_a_refused_patch_is_still_shown_and_no_longer_applied() -> None:
    text = envoy_filter(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER))
    mesh = config_of(WEB, RULE, EDGE, PAIR.secret("shop"), text)
    (one,) = mesh.envoy_filters
    facts = join(replace(mesh, refused_patches=one.patches), ())
    plan = compile_gateway(facts, GatewayWorkload("istio-system", LABELS, ipv6=True), asked=GatewayPlan())
    assert "http.buffer" not in str(plan.envoy[LISTENERS])
    assert "http.buffer" in str(bodies(plan))


# --- rules --------------------------------------------------------------------------------------------------------
MORE = "gateways: [istio-system/edge]"
TO_WEB = "- route: [{destination: {host: web, port: {number: 80}}}]"


def rule(name: str, http: str = TO_WEB, *, more: str = MORE, hosts: str = "shop.example") -> str:
    return virtual_service(name, hosts, http, more=more)


def asked(*rules: str, before: GatewayPlan | None = None) -> GatewayPlan:
    return compiled(WEB, EDGE, PAIR.secret("shop"), *rules, asked=before or GatewayPlan())


def test_each_rule_is_shown_in_a_table_of_its_own_beside_a_listener_with_scopes(tmp_path: Path) -> None:
    fault = "- fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}\n  route: [{destination: {host: web}}]"
    plan = asked(rule("a"), rule("b", fault), rule("answers", "- directResponse: {status: 204}"))
    told = plan.judged()
    assert sorted(told[CHECKS]) == ["check|default/a", "check|default/answers", "check|default/b"]
    assert told[LISTENERS].keys() - plan.envoy[LISTENERS].keys() == {RULES}
    assert told[LISTENERS][RULES].body["bind_to_port"] is False
    assert told[LISTENERS][RULES].refs == {ResourceRef(SCOPES, EVERY)}
    assert judged(plan, tmp_path) == ""


def test_what_envoy_would_refuse_is_refused_in_the_table_of_the_rule_alone(tmp_path: Path) -> None:
    mesh = config_of(WEB, EDGE, rule("a"), rule("odd", f"{TO_WEB}\n  match: [{{uri: {{regex: x}}}}]"))
    odd, route = mesh.virtual_services[1], mesh.virtual_services[1].http[0]
    (match,) = route.matches
    assert match.uri is not None
    unfit = replace(match, uri=replace(match.uri, value="[ab]{1000}" * 50))
    written = (mesh.virtual_services[0], replace(odd, http=(replace(route, matches=(unfit,)),)))
    facts = join(replace(mesh, virtual_services=written), ())
    plan = compile_gateway(facts, GatewayWorkload("istio-system", LABELS, ipv6=True), asked=GatewayPlan())
    alone = {**plan.judged(), LISTENERS: plan.rules.listeners, CLUSTERS: {}}
    assert "program size" in judged_together(alone, tmp_path)
    others = {name: table for name, table in plan.rules.tables.items() if "odd" not in name}
    assert judged_together({**alone, CHECKS: others}, tmp_path) == ""


def test_rules_of_pods_of_other_gateways_and_of_connections_are_not_shown() -> None:
    tcp = "gateways: [istio-system/edge]\n  tcp: [{route: [{destination: {host: web, port: {number: 81}}}]}]"
    plan = asked(
        rule("pods", more=""),
        rule("other", more="gateways: [istio-system/other]"),
        rule("hidden", more=f"{MORE}\n  exportTo: ['.']"),
        virtual_service("tcp", "db.example", "", more=tcp).replace("  http:\n", ""),
    )
    assert plan.judged()[CHECKS] == {}
    assert plan.judged()[LISTENERS].keys() == plan.envoy[LISTENERS].keys()
    assert not compiled(WEB, EDGE, rule("a")).judged()[CHECKS], "nobody is asked"


def test_whom_a_rule_delegates_to_is_shown_as_well() -> None:
    leaf = virtual_service("leaf", "", TO_WEB).replace("  hosts: []\n", "")
    plan = asked(rule("root", "- match: [{uri: {prefix: /x}}]\n  delegate: {name: leaf}"), leaf)
    assert sorted(plan.rules.tables) == ["check|default/leaf", "check|default/root"]


def test_a_rule_that_did_not_change_is_not_shown_again() -> None:
    first = config_of(WEB, EDGE, rule("a"), rule("b"))
    other = config_of(WEB, EDGE, rule("b", "- directResponse: {status: 204}"))
    b = next(vs for vs in other.virtual_services if vs.name == "b")
    second = replace(first, virtual_services=(first.virtual_services[0], b))
    workload = GatewayWorkload("istio-system", LABELS, ipv6=True)
    plan = compile_gateway(join(first, ()), workload, asked=GatewayPlan())
    assert compile_gateway(join(first, ()), workload, asked=plan).rules is plan.rules
    now = compile_gateway(join(second, ()), workload, asked=plan).rules
    same = {name: now.tables[name] is plan.rules.tables[name] for name in now.tables}
    assert same == {"check|default/a": True, "check|default/b": False}
    assert now.listeners is plan.rules.listeners, "Envoy keeps it"


def test_a_refused_rule_is_still_shown_and_serves_nowhere() -> None:
    mesh = config_of(WEB, EDGE, rule("a"))
    facts = join(replace(mesh, virtual_services=(), refused=mesh.virtual_services), ())
    plan = compile_gateway(facts, GatewayWorkload("istio-system", LABELS, ipv6=True), asked=GatewayPlan())
    assert list(plan.judged()[CHECKS]) == [f"check|default/a{REFUSED}"]
    assert plan.envoy[ROUTES]["http.80"].body["virtual_hosts"] == []
