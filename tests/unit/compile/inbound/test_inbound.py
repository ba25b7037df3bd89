"""EnvoyFilters on what comes to a pod: which ports pass Envoy, and what it is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, pod, sandbox, service
from tests.unit.compile.outbound.test_filtered import LUA, a_filter

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CHECKS, CLUSTERS, LISTENERS
from tidegate.model.plan.kernel import InboundPort
from tidegate.xds.encode import Encoder

WEB = "web.default.svc.cluster.local"
CLUSTER_OF = (
    pod("web", "app: web", "10.0.0.1", "fd00::1", ports="{containerPort: 7000, name: more}"),
    pod("other", "app: other", "10.0.0.2"),
    service("web", "http:80:8080", "tcp-db:5432", ips="10.96.0.1"),
    service("alias", "http-alias:8081:8080", ips="10.96.0.2", selector="app: web"),
)
NAME = "inbound|default/web|1"
PLAIN = ["envoy.filters.http.fault", "envoy.filters.http.cors", "envoy.filters.http.router"]
FIRST = f"patch: {{operation: INSERT_FIRST, value: {LUA}}}"


def facts_of(*filters: str) -> Facts:
    boxes = (sandbox("web", "10.0.0.1", cookie=1, v6=True), sandbox("other", "10.0.0.2", cookie=2))
    return join(config_of(ENROLLED, *CLUSTER_OF, *filters), boxes)


def plan_of(*filters: str) -> Plan:
    return compile_plan(facts_of(*filters))


def patch(apply_to: str, match: str = "", body: str = FIRST, context: str = "SIDECAR_INBOUND") -> str:
    """An EnvoyFilter for the pod web with one patch."""
    where = f"context: {context}{', ' + match if match else ''}"
    return a_filter(f"- {{applyTo: {apply_to}, match: {{{where}}}, {body}}}", app="web")


def chains(plan: Plan) -> dict[int, Mapping[str, Any]]:
    """Filter chains of the pod web by port."""
    listener = plan.envoy[LISTENERS].get(NAME)
    found = listener.body["filter_chains"] if listener else ()
    return {chain["filter_chain_match"]["destination_port"]: chain for chain in found}


def http_filters(plan: Plan, port: int = 8080) -> list[str]:
    return [f["name"] for f in chains(plan)[port]["filters"][-1]["typed_config"]["http_filters"]]


def test_nothing_is_in_front_of_a_pod_for_which_nobody_wrote_a_patch() -> None:
    outbound = patch("HTTP_FILTER", context="SIDECAR_OUTBOUND")
    for plan in (plan_of(), plan_of(outbound)):
        assert [name for name in plan.envoy[LISTENERS] if name.startswith("inbound")] == []
        assert [pod.inbound_ports for pod in plan.pods] == [frozenset()] * 2


@pytest.mark.parametrize("context", ["SIDECAR_INBOUND", "ANY"])
def test_a_filter_of_http_is_in_front_of_the_http_ports_of_its_pods(context: str) -> None:
    plan = plan_of(patch("HTTP_FILTER", context=context))
    assert set(chains(plan)) == {8080}
    assert http_filters(plan) == ["my.lua", *PLAIN]
    other, web = plan.pods
    assert (other.id.name, other.inbound, other.inbound_ports) == ("other", "", frozenset())
    assert (web.inbound, set(web.inbound_ports)) == (NAME, {InboundPort(1, 8080, 4), InboundPort(1, 8080, 6)})


@pytest.mark.parametrize(
    ("match", "ports"),
    [
        ("portNumber: 80", {8080}),  # of the service
        ("portNumber: 8081", {8080}),  # of another one that leads there
        ("portNumber: 8080", {8080}),  # the pod's own, as Istio does
        ("portNumber: 81", set()),
        ("portName: HTTP-al", {8080}),
        ("portName: grpc", set()),
        ("name: virtualInbound", {8080}),
        ("name: 10.0.0.1_8080", {8080}),
        ("name: virtualOutbound", set()),
        ("filterChain: {destinationPort: 8080}", {8080}),
        ("filterChain: {destinationPort: 80}", set()),
        ("filterChain: {name: 0.0.0.0_8080}", {8080}),
        ("filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}", set()),
    ],
)
def test_which_port_a_match_means(match: str, ports: set[int]) -> None:
    assert set(chains(plan_of(patch("HTTP_FILTER", f"listener: {{{match}}}")))) == ports


def test_a_filter_of_connections_is_in_front_of_bytes_too() -> None:
    value = "{name: n, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}"
    plan = plan_of(patch("NETWORK_FILTER", "", f"patch: {{operation: INSERT_FIRST, value: {value}}}"))
    assert set(chains(plan)) == {5432, 7000, 8080}, "what services lead to, and what containers declare"
    assert [f["name"] for f in chains(plan)[5432]["filters"]][-2:] == ["n", "envoy.filters.network.tcp_proxy"]
    only = patch(
        "NETWORK_FILTER", "listener: {portNumber: 5432}", f"patch: {{operation: INSERT_FIRST, value: {value}}}"
    )
    assert set(chains(plan_of(only))) == {5432}


def test_the_addresses_of_istio_1_0_are_the_pods() -> None:
    def legacy(address: str) -> str:
        return f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f}}
spec:
  workloadLabels: {{app: web}}
  filters:
  - filterName: envoy.lua
    filterType: HTTP
    filterConfig: {{inlineCode: "--"}}
    listenerMatch: {{listenerType: SIDECAR_INBOUND, address: ["{address}"]}}
"""

    assert set(chains(plan_of(legacy("10.0.0.0/24")))) == {8080}
    assert set(chains(plan_of(legacy("fd00::/64")))) == {8080}
    assert set(chains(plan_of(legacy("10.1.0.0/24")))) == set()


def test_routes_are_changed_by_the_names_that_istio_gives_them() -> None:
    value = "{name: mine, match: {path: /mine}, direct_response: {status: 418}}"
    for match in ("name: 'inbound|8080||'", "portNumber: 80", "vhost: {name: 'inbound|http|8080'}"):
        body = f"patch: {{operation: INSERT_FIRST, value: {value}}}"
        plan = plan_of(patch("HTTP_ROUTE", f"routeConfiguration: {{{match}}}", body))
        (chain,) = chains(plan).values()
        (host,) = chain["filters"][-1]["typed_config"]["route_config"]["virtual_hosts"]
        assert [route["name"] for route in host["routes"][:2]] == ["mine", "default"]
    elsewhere = patch(
        "HTTP_ROUTE", "routeConfiguration: {name: '80'}", f"patch: {{operation: INSERT_FIRST, value: {value}}}"
    )
    assert chains(plan_of(elsewhere)) == {}


def test_a_route_configuration_is_the_pods_own_so_each_field_of_it_may_be_set() -> None:
    body = "patch: {operation: MERGE, value: {max_direct_response_body_size_bytes: 9}}"
    plan = plan_of(patch("ROUTE_CONFIGURATION", "", body))
    made = chains(plan)[8080]["filters"][-1]["typed_config"]["route_config"]
    assert made["max_direct_response_body_size_bytes"] == 9


def test_a_cluster_is_changed_by_name_service_or_port() -> None:
    body = "patch: {operation: MERGE, value: {connect_timeout: 1s}}"
    for match in ("name: 'inbound|8080||'", f"service: {WEB}, portNumber: 80", f"service: {WEB}, portNumber: 8080"):
        plan = plan_of(patch("CLUSTER", f"cluster: {{{match}}}", body))
        assert set(chains(plan)) == {8080}
        assert plan.envoy[CLUSTERS]["inbound|8080||1"].body["connect_timeout"] == "1s"
    assert chains(plan_of(patch("CLUSTER", f"cluster: {{service: {WEB}, subset: v1}}", body))) == {}


def test_a_patch_that_changes_nothing_costs_nothing() -> None:
    same = "patch: {operation: MERGE, value: {connect_timeout: 10s}}"
    assert chains(plan_of(patch("CLUSTER", "", same))) == {}
    nobody = "listener: {filterChain: {filter: {subFilter: {name: nobody}}}}"
    assert chains(plan_of(patch("HTTP_FILTER", nobody, "patch: {operation: REMOVE}"))) == {}


def test_a_patch_of_the_listener_concerns_every_port() -> None:
    body = "patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 9}}"
    plan = plan_of(patch("LISTENER", "listener: {name: virtualInbound}", body))
    assert set(chains(plan)) == {5432, 7000, 8080}
    assert plan.envoy[LISTENERS][NAME].body["per_connection_buffer_limit_bytes"] == 9


def test_a_cluster_of_ones_own_is_there_for_what_refers_to_it() -> None:
    patches = f"""
    - {{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND}}, {FIRST}}}
    - applyTo: CLUSTER
      match: {{context: SIDECAR_INBOUND}}
      patch: {{operation: ADD, value: {{name: mine, type: STATIC, connect_timeout: 5s}}}}
    """
    plan = plan_of(a_filter(patches, app="web"))
    assert plan.envoy[LISTENERS][NAME].needs(CLUSTERS) == ["inbound|8080||1", "mine"]
    assert plan.envoy[CLUSTERS]["mine"].body["type"] == "STATIC"


def test_what_nobody_declared_as_http_is_no_http() -> None:
    assert 5432 not in chains(plan_of(patch("HTTP_FILTER")))


def test_each_patch_is_shown_alone_on_a_listener_of_its_side() -> None:
    match = "listener: {filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}}"
    value = "{name: n, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}"
    plan = plan_of(patch("NETWORK_FILTER", match, f"patch: {{operation: INSERT_BEFORE, value: {value}}}"))
    shown = plan.envoy[LISTENERS]["check|EnvoyFilter default/f patch 0"]
    assert shown.body["traffic_direction"] == "INBOUND"
    assert [f["name"] for f in shown.body["filter_chains"][1]["filters"]][-2:] == [
        "n",
        "envoy.filters.network.tcp_proxy",
    ]


def test_what_is_made_is_what_envoys_api_knows() -> None:
    image = Encoder().publish(1, plan_of(patch("HTTP_FILTER")).envoy)
    assert image.broken == ()


def test_a_patch_that_was_refused_is_left_out() -> None:
    config = config_of(ENROLLED, *CLUSTER_OF, patch("HTTP_FILTER"))
    refused = replace(config, refused_patches=config.envoy_filters[0].patches)
    plan = compile_plan(join(refused, (sandbox("web", "10.0.0.1", cookie=1),)))
    assert chains(plan) == {}
    assert plan.envoy[CHECKS] == {}


def test_clients_dial_anew_when_a_filter_is_through_and_only_those_of_its_ports() -> None:
    facts = facts_of(patch("HTTP_FILTER", "listener: {portNumber: 80}"))
    compiler = Compiler()
    name, other = f"outbound|80||{WEB}", "outbound|8081||alias.default.svc.cluster.local"
    before = compiler.compile(facts, 1).envoy[CLUSTERS]
    plain = before[name].body, before[other].body
    after = compiler.compile(facts, 2, facts.mesh.envoy_filters).envoy[CLUSTERS]
    assert "inbound" in after[name].body["metadata"]["filter_metadata"]["tidegate"]
    assert (after[name].body != plain[0], after[other].body != plain[1]) == (True, False)
    again = compiler.compile(facts, 3, facts.mesh.envoy_filters).envoy[CLUSTERS]
    assert again[name] is after[name]


def test_what_did_not_change_is_the_same_object() -> None:
    facts = facts_of(patch("HTTP_FILTER"))
    compiler = Compiler()
    first, second = (compiler.compile(facts, n).envoy[LISTENERS][NAME] for n in (1, 2))
    assert first is second


def test_explain_says_what_stands_in_front_of_a_server() -> None:
    facts = facts_of(patch("HTTP_FILTER", "listener: {portNumber: 80}"))
    told = explain(facts, WorkloadId("default", "other"), "web", 80).hops
    (hop,) = [hop.result for hop in told if hop.step == "envoy filter"]
    assert hop.startswith("in front of default/web: EnvoyFilter default/f")
    assert hop.endswith("INSERT_FIRST of HTTP_FILTER")
    bytes_only = explain(facts, WorkloadId("default", "other"), "web", 5432).hops
    assert [hop for hop in bytes_only if hop.step == "envoy filter"] == []


def sidecar(spec: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s}}
spec: {{workloadSelector: {{labels: {{app: web}}}}, {spec}}}
"""


def test_a_sidecar_says_where_the_application_is() -> None:
    def led_to(endpoint: str) -> Mapping[str, Any]:
        plan = plan_of(sidecar(f"ingress: [{{port: {{number: 8080, protocol: HTTP}}, defaultEndpoint: '{endpoint}'}}]"))
        assert set(chains(plan)) == {8080}
        assert http_filters(plan) == PLAIN
        return plan.envoy[CLUSTERS]["inbound|8080||1"].body

    for endpoint, address in (("127.0.0.1:9000", "127.0.0.1"), (":9000", "127.0.0.1"), ("[::1]:9000", "::1")):
        body = led_to(endpoint)
        (server,) = body["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert server["endpoint"]["address"]["socket_address"] == {"address": address, "port_value": 9000}
        assert body["type"] == "STATIC"
    assert led_to("0.0.0.0:9000")["original_dst_lb_config"] == {"upstream_port_override": 9000}


def test_a_sidecar_that_moves_nothing_leaves_the_port_alone() -> None:
    same = "ingress: [{port: {number: 8080, protocol: HTTP}, defaultEndpoint: '0.0.0.0:8080'}, {port: {number: 5432}}]"
    assert chains(plan_of(sidecar(same))) == {}
    assert set(chains(plan_of(sidecar("ingress: [{port: {number: 5432}}]"), patch("HTTP_FILTER")))) == set()


def test_the_ports_of_a_sidecar_are_those_that_patches_may_change() -> None:
    ports = "ingress: [{port: {number: 8080, protocol: HTTP}}, {port: {number: 9999, protocol: GRPC}}]"
    plan = plan_of(sidecar(ports), patch("HTTP_FILTER"))
    assert set(chains(plan)) == {8080, 9999}


def test_limits_of_what_comes_to_a_pod() -> None:
    usual = "inboundConnectionPool: {tcp: {maxConnections: 7, idleTimeout: 9s}}"
    plan = plan_of(sidecar(usual))
    assert set(chains(plan)) == {5432, 7000, 8080}
    (threshold,) = plan.envoy[CLUSTERS]["inbound|5432||1"].body["circuit_breakers"]["thresholds"]
    assert threshold["max_connections"] == 7
    assert chains(plan)[5432]["filters"][-1]["typed_config"]["idle_timeout"] == "9s"
    pool = "connectionPool: {tcp: {maxConnections: 3}}"
    plan = plan_of(sidecar(f"{usual}, ingress: [{{port: {{number: 8080, protocol: HTTP}}, {pool}}}]"))
    (threshold,) = plan.envoy[CLUSTERS]["inbound|8080||1"].body["circuit_breakers"]["thresholds"]
    assert threshold["max_connections"] == 3
