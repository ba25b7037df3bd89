"""Servers whose bytes are forwarded: plain TCP, TLS that is not ended here, and TLS that is ended but no HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.certificates import Authority
from tests.support.configs import destination_rule, service
from tests.support.gateways import compiled, gateway, server

from tidegate.compile.gateway.compiler import GatewayPlan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS

DB = service("db", "mongo:27017", ips="10.96.0.2")
WEB = service("web", "https:443", ips="10.96.0.3")


def rule(name: str, hosts: str, routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{hosts}]
  gateways: [istio-system/edge]
{routes}
"""


def to(host: str, port: int) -> str:
    return f"{{destination: {{host: {host}, port: {{number: {port}}}}}}}"


def chains(plan: GatewayPlan, listener: str) -> list[dict[str, Any]]:
    return list(plan.envoy[LISTENERS][listener].body["filter_chains"])


def proxy(chain: dict[str, Any]) -> dict[str, Any]:
    (only,) = chain["filters"]
    found: dict[str, Any] = only["typed_config"]
    return found


def test_mongo_is_forwarded_by_the_first_route_that_holds() -> None:
    routes = f"""
  tcp:
  - match: [{{port: 9}}]
    route: [{to("web", 443)}]
  - match: [{{port: 31400, gateways: [mesh]}}, {{port: 31400, sourceLabels: {{app: other}}}}]
    route: [{to("web", 443)}]
  - match: [{{port: 31400, gateways: [istio-system/edge]}}]
    route: [{to("db", 27017)}]
"""
    plan = compiled(DB, WEB, rule("mongo", '"*"', routes), gateway("edge", server(31400, "MONGO", '"*"')))
    (chain,) = chains(plan, "0.0.0.0_31400")
    assert proxy(chain)["cluster"] == "outbound|27017||db.default.svc.cluster.local"
    assert list(plan.envoy[CLUSTERS]) == ["outbound|27017||db.default.svc.cluster.local"]
    assert "listener_filters" not in plan.envoy[LISTENERS]["0.0.0.0_31400"].body, "nobody waits for the client's bytes"


def test_weights_of_connections() -> None:
    routes = f"  tcp: [{{route: [{{{to('db', 27017)[1:-1]}, weight: 1}}, {{{to('web', 443)[1:-1]}, weight: 3}}]}}]"
    plan = compiled(DB, WEB, rule("r", '"*"', routes), gateway("edge", server(31400, "TCP", '"*"')))
    (chain,) = chains(plan, "0.0.0.0_31400")
    assert [c["weight"] for c in proxy(chain)["weighted_clusters"]["clusters"]] == [1, 3]


def test_a_gateway_hands_connections_to_a_proxy_as_a_pod_does() -> None:
    tunnel = "trafficPolicy: {tunnel: {protocol: POST, targetHost: a.example, targetPort: 9}}"
    plain, mixed = to("db", 27017), f"{to('db', 27017)[:-1]}, weight: 1}}, {to('web', 443)[:-1]}, weight: 1}}"
    found = []
    for targets in (plain, mixed):
        documents = (DB, WEB, destination_rule("r", "db", tunnel), rule("m", '"*"', f"  tcp: [{{route: [{targets}]}}]"))
        (chain,) = chains(compiled(*documents, gateway("edge", server(31400, "TCP", '"*"'))), "0.0.0.0_31400")
        found.append(proxy(chain))
    assert found[0]["tunneling_config"] == {"hostname": "a.example:9", "use_post": True}
    assert "tunneling_config" not in found[1]
    assert {c["name"] for c in found[1]["weighted_clusters"]["clusters"]} == {"BlackHoleCluster"}


def test_names_of_the_handshake_choose_where_tls_goes_that_is_not_ended_here() -> None:
    routes = f"""
  tls:
  - match: [{{sniHosts: [a.example]}}, {{port: 9, sniHosts: [b.example]}}]
    route: [{to("web", 443)}]
  - match: [{{sniHosts: [a.example, "*.c.example"]}}]
    route: [{to("db", 27017)}]
"""
    edge = gateway("edge", server(443, "TLS", '"*.example"', tls="mode: PASSTHROUGH"))
    made = chains(compiled(DB, WEB, rule("r", '"*.example"', routes), edge), "0.0.0.0_443")
    assert [c["filter_chain_match"]["server_names"] for c in made] == [["a.example"], ["*.c.example"]]
    assert proxy(made[0])["cluster"] == "outbound|443||web.default.svc.cluster.local"
    assert all("transport_socket" not in chain for chain in made)


def test_no_two_chains_have_one_name() -> None:
    routes = f"  tls: [{{match: [{{sniHosts: [a.example]}}], route: [{to('web', 443)}]}}]"
    edge = gateway(
        "edge",
        server(443, "TLS", '"*.example"', tls="mode: PASSTHROUGH"),
        server(443, "HTTPS", "a.example", tls="mode: PASSTHROUGH", name="again"),
    )
    assert len(chains(compiled(WEB, rule("r", "a.example", routes), edge), "0.0.0.0_443")) == 1


def test_a_server_whose_name_a_tls_route_has_does_not_become_everybodys() -> None:
    routes = f"  tls: [{{match: [{{sniHosts: [a.example]}}], route: [{to('web', 443)}]}}]"
    edge = gateway(
        "edge",
        server(443, "TLS", '"*.example"', tls="mode: PASSTHROUGH"),
        server(443, "HTTPS", "a.example", tls="mode: SIMPLE, credentialName: a", name="ended"),
    )
    plan = compiled(WEB, rule("r", "a.example", routes), edge, Authority().issue("a.example").secret("a"))
    (chain,) = chains(plan, "0.0.0.0_443")
    assert "transport_socket" not in chain
    assert [left.served.server.port_name for left in plan.left_out] == ["ended"]


def test_tls_that_is_ended_and_is_no_http() -> None:
    pair = Authority().issue("db.example")
    edge = gateway("edge", server(27018, "TLS", "db.example", tls="mode: SIMPLE, credentialName: db"))
    routes = f"  tcp: [{{route: [{to('db', 27017)}]}}]"
    plan = compiled(DB, rule("r", "db.example", routes), edge, pair.secret("db"))
    (chain,) = chains(plan, "0.0.0.0_27018")
    assert chain["filter_chain_match"] == {"server_names": ["db.example"]}
    common = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert "alpn_protocols" not in common
    assert proxy(chain)["cluster"] == "outbound|27017||db.default.svc.cluster.local"


def test_a_port_to_which_no_route_leads_is_closed_and_named() -> None:
    plan = compiled(gateway("edge", server(31400, "TCP", '"*"'), server(443, "TLS", '"*"', tls="mode: PASSTHROUGH")))
    assert not plan.envoy[LISTENERS]
    assert [left.why for left in plan.left_out] == [
        "no VirtualService has a tcp route for it",
        "no VirtualService has a tls route for it",
    ]
