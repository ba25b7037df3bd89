"""EnvoyFilters at a gateway: context GATEWAY and ANY, on what the workload has."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any

from tests.support.configs import service, virtual_service
from tests.support.gateways import compiled, gateway, hosts_at, judged, server

from tidegate.compile.gateway.compiler import GatewayPlan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, ROUTES

WEB = service("web", "http:80", ips="10.96.0.1")
RULE = virtual_service(
    "v", "shop.example", "- name: all\n  route: [{destination: {host: web}}]", more="gateways: [istio-system/edge]"
)
EDGE = gateway("edge", server(80, "HTTP", '"*"', name="http-shop"), server(81, "HTTP", '"*"', name="http-other"))
NAME = "outbound|80||web.default.svc.cluster.local"
BUFFER = """{operation: INSERT_FIRST, value: {name: envoy.filters.http.buffer, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 7}}}"""


def patched(*patches: str, labels: str = "istio: ingressgateway", more: tuple[str, ...] = ()) -> GatewayPlan:
    listed = "\n".join(indent(patch.strip(), "  ") for patch in patches)
    text = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: istio-system}}
spec:
  workloadSelector: {{labels: {{{labels}}}}}
  configPatches:
{listed}
"""
    return compiled(WEB, RULE, EDGE, text, *more)


def patch(apply_to: str, operation: str, value: str, match: str = "") -> str:
    """A patch of context GATEWAY."""
    conditions = f"context: GATEWAY{', ' if match else ''}{match}"
    return f"- applyTo: {apply_to}\n  match: {{{conditions}}}\n  patch: {{operation: {operation}, value: {{{value}}}}}"


def http(match: str = "context: GATEWAY") -> str:
    return f"- applyTo: HTTP_FILTER\n  match: {{{match}}}\n  patch: {' '.join(BUFFER.split())}"


def filters(plan: GatewayPlan, port: int) -> list[str]:
    """HTTP filters of a port."""
    (chain,) = plan.envoy[LISTENERS][f"0.0.0.0_{port}"].body["filter_chains"]
    manager: dict[str, Any] = chain["filters"][-1]["typed_config"]
    return [one["name"].rpartition(".")[2] for one in manager["http_filters"]]


def test_a_filter_comes_into_the_ports_that_it_is_for(tmp_path: Path) -> None:
    plan = patched(http())
    assert filters(plan, 80) == filters(plan, 81) == ["buffer", "fault", "cors", "router"]
    assert judged(plan, tmp_path) == ""
    one = patched(http("context: GATEWAY, listener: {portNumber: 81}"))
    assert ("buffer" in filters(one, 80), "buffer" in filters(one, 81)) == (False, True)
    assert "buffer" in filters(patched(http("context: ANY")), 80)


def test_a_filter_of_istio_1_0_is_for_the_addresses_that_servers_are_bound_to() -> None:
    bound = gateway("bound", server(82, "HTTP", '"*"', more="bind: 192.0.2.1"), server(83, "HTTP", '"*"'))

    def found(addresses: str) -> dict[str, bool]:
        text = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: istio-system}}
spec:
  filters:
  - listenerMatch: {{listenerType: GATEWAY, address: [{addresses}]}}
    filterName: envoy.buffer
    filterType: HTTP
    filterConfig: {{maxRequestBytes: 7}}
"""
        made = compiled(WEB, bound, text).envoy[LISTENERS]
        return {name: "max_request_bytes" in str(it.body) for name, it in made.items()}

    one, every = "192.0.2.1_82", "0.0.0.0_83"
    assert found("192.0.2.0/24") == {one: True, every: False}
    assert found("0.0.0.0") == {one: False, every: True}
    assert found("0.0.0.0/0") == {one: True, every: True}
    assert found("192.0.2.2") == {one: False, every: False}


def test_patches_for_pods_or_for_other_workloads_are_not_for_it() -> None:
    assert "buffer" not in filters(patched(http("context: SIDECAR_OUTBOUND")), 80)
    assert "buffer" not in filters(patched(http(), labels="istio: other"), 80)


def test_virtual_hosts_and_routes_are_changed_at_the_gateway_that_is_named() -> None:
    for name, there in (("istio-system/edge", True), ("istio-system/other", False)):
        at = f"routeConfiguration: {{gateway: {name}}}"
        plan = patched(patch("VIRTUAL_HOST", "MERGE", "include_request_attempt_count: true", at))
        body = plan.envoy[ROUTES]["http.80"].body["virtual_hosts"][0]
        assert body.get("include_request_attempt_count", False) is there
    add = "request_headers_to_add: [{header: {key: x-edge, value: seen}}]"
    plan = patched(patch("HTTP_ROUTE", "MERGE", add, "routeConfiguration: {vhost: {route: {name: all}}}"))
    (made,) = hosts_at(plan, "http.80")["shop.example"]
    assert made["request_headers_to_add"][0]["header"]["key"] == "x-edge"


def test_clusters_are_changed_and_added(tmp_path: Path) -> None:
    merge = patch("CLUSTER", "MERGE", "connect_timeout: 3s", "cluster: {service: web.default.svc.cluster.local}")
    plan = patched(merge, patch("CLUSTER", "ADD", "name: mine, type: STATIC, connect_timeout: 1s"))
    assert plan.envoy[CLUSTERS][NAME].body["connect_timeout"] == "3s"
    assert plan.envoy[CLUSTERS]["mine"].body["type"] == "STATIC"
    assert judged(plan, tmp_path) == ""


def test_what_cannot_be_applied_is_told_and_the_others_stay() -> None:
    plan = patched(patch("FILTER_CHAIN", "ADD", "name: x"), http())
    assert "buffer" in filters(plan, 80)
    assert {item for item, _, _ in plan.failures_told()} == {"EnvoyFilter istio-system/f patch 0"}
