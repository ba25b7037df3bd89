"""HTTP servers of Gateways: who gets a port, which VirtualServices are served there, in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.configs import config_of, destination_rule, service, virtual_service
from tests.support.gateways import compiled, gateway, hosts_at, judged, server

from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, ROUTES

WEB = service("web", "http:80", ips="10.96.0.1")
TO_WEB = "- route: [{destination: {host: web}}]"


def test_a_host_of_a_virtual_service_is_served_at_the_gateway_that_it_names() -> None:
    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        virtual_service("shop", "shop.example", TO_WEB, more="gateways: [edge]"),
    )
    (listener,) = plan.envoy[LISTENERS].values()
    assert listener.body["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 80}
    assert listener.needs(ROUTES) == ["http.80"]
    (route,) = hosts_at(plan, "http.80")["shop.example"]
    assert route["route"]["cluster"] == "outbound|80||web.default.svc.cluster.local"
    cluster = plan.envoy[CLUSTERS]["outbound|80||web.default.svc.cluster.local"]
    assert "upstream_bind_config" not in cluster.body, "its sockets are opened where the gateway runs"


def test_what_names_no_gateway_or_another_one_is_not_served() -> None:
    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        gateway("other", server(80, "HTTP", '"*"'), namespace="default", selector="istio: other"),
        virtual_service("mesh", "web", TO_WEB),
        virtual_service("other", "other.example", TO_WEB, more="gateways: [other]"),
        virtual_service("both", "both.example", TO_WEB, more="gateways: [mesh, default/edge]"),
        virtual_service("private", "private.example", TO_WEB, more='gateways: [edge]\n  exportTo: ["."]'),
    )
    assert list(hosts_at(plan, "http.80")) == ["both.example"]


def test_references_to_gateways_in_every_spelling() -> None:
    names = ("default/edge", "edge", "./edge", "edge.default.svc.cluster.local")
    rules = [
        virtual_service(f"v{n}", f"v{n}.example", TO_WEB, more=f"gateways: [{name}]") for n, name in enumerate(names)
    ]
    plan = compiled(WEB, gateway("edge", server(80, "HTTP", '"*"'), namespace="default"), *rules)
    assert len(hosts_at(plan, "http.80")) == len(names)


def test_hosts_are_what_gateway_and_rule_have_in_common() -> None:
    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", '"*.example", one.test, shop/two.test, ./three.test'), namespace="default"),
        virtual_service(
            "v",
            '"*", a.example, "*.b.example", one.test, two.test, three.test, x.test',
            TO_WEB,
            more="gateways: [edge]",
        ),
    )
    got = list(hosts_at(plan, "http.80"))
    assert got == ["*.b.example", "*.example", "a.example", "one.test", "three.test"]


def test_routes_of_one_host_stand_behind_each_other_and_who_takes_all_comes_last() -> None:
    def vs(name: str, created: str, http: str) -> str:
        text = virtual_service(name, "shop.example", http, more="gateways: [edge]")
        return text.replace(f"name: {name}, ", f"name: {name}, creationTimestamp: '{created}', ")

    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        vs(
            "young",
            "2026-01-02T00:00:00Z",
            "- name: young\n  match: [{uri: {prefix: /y}}]\n  route: [{destination: {host: web}}]",
        ),
        vs("old", "2026-01-01T00:00:00Z", "- name: old\n  route: [{destination: {host: web}}]"),
    )
    assert [r["name"] for r in hosts_at(plan, "http.80")["shop.example"]] == ["young", "old"]


def test_conditions_on_gateway_port_and_source_are_decided_here() -> None:
    def route(name: str, match: str) -> str:
        return f"- name: {name}\n  match: [{{{match}}}]\n  route: [{{destination: {{host: web}}}}]"

    routes = [
        route("this-gateway", "gateways: [edge]"),
        route("mesh-only", "gateways: [mesh]"),
        route("port", "port: 80, uri: {prefix: /p}"),
        route("other-port", "port: 81"),
        route("labels", "sourceLabels: {istio: ingressgateway}, uri: {prefix: /l}"),
        route("other-labels", "sourceLabels: {app: client}"),
        route("namespace", "sourceNamespace: istio-system, uri: {prefix: /n}"),
        route("other-namespace", "sourceNamespace: default"),
    ]
    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        virtual_service("v", "shop.example", "\n".join(routes[2:] + routes[:2]), more="gateways: [mesh, edge]"),
    )
    names = [r["name"] for r in hosts_at(plan, "http.80")["shop.example"]]
    assert names == ["port", "labels", "namespace", "this-gateway"]


def test_https_redirect_answers_for_every_host_of_the_server() -> None:
    plan = compiled(
        WEB,
        gateway("edge", server(80, "HTTP", "a.example, b.example", tls="httpsRedirect: true"), namespace="default"),
        virtual_service("v", "a.example", TO_WEB, more="gateways: [edge]"),
    )
    found = {host["domains"][0]: host for host in plan.envoy[ROUTES]["http.80"].body["virtual_hosts"]}
    assert {name: host.get("require_tls") for name, host in found.items()} == {"a.example": "ALL", "b.example": "ALL"}


def test_gateways_of_one_workload_share_a_port_of_http_and_the_older_one_keeps_it_from_others() -> None:
    plan = compiled(
        WEB,
        gateway("a", server(80, "HTTP", "a.example"), namespace="default"),
        gateway("b", server(80, "HTTP", "b.example", name="http-b"), namespace="default"),
        gateway("c", server(80, "TCP", '"*"', name="tcp-c"), namespace="default"),
        virtual_service("v", '"*.example"', TO_WEB, more="gateways: [a, b]"),
    )
    assert list(hosts_at(plan, "http.80")) == ["a.example", "b.example"]
    (left,) = plan.left_out
    assert (left.served.gateway.ref, "older Gateway default/a" in left.why) == ("default/c", True)


def test_a_workload_listens_where_its_service_leads() -> None:
    lb = service("ingress", "http:80:8080", namespace="istio-system", ips="10.96.0.9", selector="istio: ingressgateway")
    plan = compiled(WEB, lb, gateway("edge", server(80, "HTTP", '"*"'), namespace="default"))
    (listener,) = plan.envoy[LISTENERS].values()
    assert listener.body["address"]["socket_address"]["port_value"] == 8080
    assert listener.needs(ROUTES) == ["http.80"], "people know the port of the Service"


def test_bind_and_families() -> None:
    text = gateway(
        "edge",
        server(80, "HTTP", '"*"', more='bind: "127.0.0.1"'),
        server(81, "HTTP", '"*"', more='bind: "fd00::1"', name="six"),
        server(0, "HTTP", '"*"', more='bind: "unix:///run/edge.sock"', name="path"),
        server(82, "HTTP", '"*"', name="every"),
        namespace="default",
    )
    found: dict[str, Any] = {name: r.body for name, r in compiled(WEB, text).envoy[LISTENERS].items()}
    assert found["127.0.0.1_80"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert found["fd00::1_81"]["address"]["socket_address"]["address"] == "fd00::1"
    assert found["unix:/run/edge.sock_0"]["address"] == {"pipe": {"path": "/run/edge.sock"}}
    assert [a["address"]["socket_address"]["address"] for a in found["0.0.0.0_82"]["additional_addresses"]] == ["::"]
    without = compiled(WEB, text, ipv6=False).envoy[LISTENERS]["0.0.0.0_82"].body
    assert "additional_addresses" not in without


def test_of_a_headless_service_envoy_chooses_the_pod() -> None:
    plan = compiled(
        service("heads", "http:80", ips="None"),
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        virtual_service("v", "h.example", "- route: [{destination: {host: heads}}]", more="gateways: [edge]"),
    )
    (route,) = hosts_at(plan, "http.80")["h.example"]
    assert plan.envoy[CLUSTERS][route["route"]["cluster"]].body["type"] == "EDS"


def test_a_server_is_spoken_to_as_its_port_says_whatever_the_client_speaks() -> None:
    plan = compiled(
        service("web", "http:80", "grpc:81", ips="10.96.0.1"),
        gateway("edge", server(80, "HTTP", '"*"'), namespace="default"),
        virtual_service(
            "v",
            "w.example",
            "- match: [{uri: {prefix: /g}}]\n  route: [{destination: {host: web, port: {number: 81}}}]\n"
            "- route: [{destination: {host: web, port: {number: 80}}}]",
            more="gateways: [edge]",
        ),
    )
    found = {}
    for name, cluster in plan.envoy[CLUSTERS].items():
        (options,) = cluster.body["typed_extension_protocol_options"].values()
        found[name.split("|")[1]] = list(options["explicit_http_config"])
    assert found == {"80": ["http_protocol_options"], "81": ["http2_protocol_options"]}


def test_a_gateway_that_does_not_exist_is_named() -> None:
    text = virtual_service("v", "a.example", TO_WEB, more="gateways: [edge]")
    assert [p.code for p in config_of(WEB, text).problems] == ["TG0525"]
    there = gateway("edge", server(80, "HTTP", "b.example"), namespace="default")
    assert [p.code for p in config_of(WEB, text, there).problems] == ["TG0527"]


def test_names_of_headers_are_in_lower_case_on_both_sides(tmp_path: Path) -> None:
    """To keep how they were written costs 6 % of what Envoy does for a request."""
    edge = gateway("edge", server(80, "HTTP", '"*"'), namespace="default")
    texts = (WEB, edge, virtual_service("v", "shop.example", TO_WEB, more="gateways: [edge]"))
    pool = "trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}"
    for more in ((), (destination_rule("web", "web", pool),)):
        plan = compiled(*texts, *more)
        assert "header_key_format" not in str(plan.envoy[LISTENERS]) + str(dict(plan.envoy[CLUSTERS].items()))
        assert judged(plan, tmp_path) == ""
