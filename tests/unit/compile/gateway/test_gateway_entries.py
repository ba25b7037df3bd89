"""Hosts of ServiceEntries behind a gateway: the way out of the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.configs import config_of, entry
from tests.support.gateways import LABELS, compiled, gateway, judged, server

from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.explain import explain
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.http import HttpRequest
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS

HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]"
HTTPS = "ports: [{number: 443, name: https, protocol: HTTPS}]"
EDGE = gateway("edge", server(80, "HTTP", '"*"'), server(443, "TLS", '"*"', tls="mode: PASSTHROUGH"))


def rule(host: str, routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: out, namespace: default}}
spec:
  hosts: [{host}]
  gateways: [istio-system/edge]
  {routes}
"""


def to(host: str) -> str:
    return f"http: [{{route: [{{destination: {{host: {host}}}}}]}}]"


def cluster(plan: GatewayPlan, name: str) -> dict[str, Any]:
    return dict(plan.envoy[CLUSTERS][name].body)


def asked(url: str, *texts: str) -> dict[str, Any]:
    facts, workload = join(config_of(EDGE, *texts), ()), GatewayWorkload("istio-system", LABELS)
    return explain(facts, compile_gateway(facts, workload), workload, url, HttpRequest())


def test_a_host_that_is_a_name_is_resolved_where_the_gateway_runs(tmp_path: Path) -> None:
    """The document's egress gateway."""
    texts = (
        entry("httpbin", "httpbin.com", f"location: MESH_EXTERNAL, {HTTP}, resolution: DNS"),
        rule("httpbin.com", to("httpbin.com")),
    )
    plan = compiled(EDGE, *texts)
    body = cluster(plan, "outbound|80||httpbin.com")
    assert (body["type"], "upstream_bind_config" in body) == ("STRICT_DNS", False)
    assert judged(plan, tmp_path) == ""
    said = asked("http://httpbin.com/", *texts)
    assert (said["verdict"], said["destinations"][0]["endpoints"]) == ("allow", ["httpbin.com:80"])


def test_tls_goes_out_by_the_name_in_the_handshake(tmp_path: Path) -> None:
    route = "{match: [{sniHosts: [api.example]}], route: [{destination: {host: api.example}}]}"
    texts = entry("api", "api.example", f"{HTTPS}, resolution: DNS"), rule("api.example", f"tls: [{route}]")
    plan = compiled(EDGE, *texts)
    assert cluster(plan, "outbound|443||api.example")["type"] == "STRICT_DNS"
    assert judged(plan, tmp_path) == ""
    assert asked("https://api.example/", *texts)["destinations"][0]["endpoints"] == ["api.example:443"]


def test_written_endpoints_have_their_weights() -> None:
    endpoints = "resolution: STATIC, endpoints: [{address: 192.0.2.1, weight: 3}, {address: 192.0.2.2}]"
    plan = compiled(EDGE, entry("db", "db.example", f"{HTTP}, {endpoints}"), rule("db.example", to("db.example")))
    (group,) = plan.envoy[ENDPOINTS]["outbound|80||db.example"].body["endpoints"]
    assert [e["load_balancing_weight"] for e in group["lb_endpoints"]] == [3, 1]


def test_where_nobody_says_an_endpoint_a_gateway_does_not_send_requests_to_itself() -> None:
    """What was dialled is the gateway."""
    texts = entry("none", "none.example", f"{HTTP}, resolution: NONE"), rule("none.example", to("none.example"))
    plan = compiled(EDGE, *texts)
    bodies = [resource.body for resource in plan.envoy[CLUSTERS].values()]
    assert [body["type"] for body in bodies] == ["EDS"]
    assert asked("http://none.example/", *texts)["verdict"] == "unavailable"
