"""Clusters and endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import config_of, destination_rule, pod, service

from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints
from tidegate.compile.envoy.secrets import secrets
from tidegate.compile.facts import join
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.plan.envoy import SECRETS

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NAME = "outbound|80|{}|web.default.svc.cluster.local"


def made(*texts: str, port: int = 80, client: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Clusters and endpoints of a port of service web, all of it and its subsets, by name."""
    config = config_of(*texts)
    read = Read(join(config, ()).tables)
    registry, rules = Registry(read), Rules(read)
    web = registry.services["web.default.svc.cluster.local"]
    policy = rules.policy(web.id, client or web.id.namespace)
    keys = [ClusterKey(web.id.fqdn, port, subset, client) for subset in ("", *(s.name for s in policy.subsets))]
    clusters = [found for key in keys if (found := cluster(registry, rules, key))]
    members = [found for key in keys if (found := endpoints(registry, rules, key))]
    assert len(clusters) == len(keys)
    return {r.name: r.body for r in clusters}, {r.name: r.body for r in members}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ClusterKey("web.default.svc", 80), "outbound|80||web.default.svc"),
        (ClusterKey("web.default.svc", 80, "v1"), "outbound|80|v1|web.default.svc"),
        (ClusterKey("web.default.svc", 80, "v1", "shop"), "outbound|80|v1@shop|web.default.svc"),
        (ClusterKey("web.default.svc", 80, "", "shop"), "outbound|80|@shop|web.default.svc"),
        (ClusterKey("web.default.svc", 80, lb_headless=True), "outbound|80|+lb|web.default.svc"),
        (ClusterKey("web.default.svc", 80, "", "shop", True), "outbound|80|@shop+lb|web.default.svc"),
    ],
)
def test_names_have_four_fields_and_can_be_read_back(key: ClusterKey, name: str) -> None:
    assert str(key) == name
    assert ClusterKey.parse(name) == key


@pytest.mark.parametrize(
    "name", ["", "BlackHoleCluster", "outbound|80||", "inbound|80||web", "outbound|http||web", "outbound|80"]
)
def test_other_names_are_no_keys(name: str) -> None:
    assert ClusterKey.parse(name) is None


def rule(spec: str) -> str:
    return destination_rule("d", "web", spec)


WEB = service("web", "http:80", ips="10.96.0.1")


def test_defaults() -> None:
    clusters, endpoints = made(WEB)
    cluster = clusters[NAME.format("")]
    assert cluster["type"] == "EDS"
    assert cluster["lb_policy"] == "LEAST_REQUEST"
    assert cluster["connect_timeout"] == "10s"
    assert cluster["circuit_breakers"]["thresholds"][0]["max_connections"] == 2**32 - 1
    assert "common_lb_config" not in cluster
    assert cluster["eds_cluster_config"]["eds_config"] == {
        "ads": {},
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
    }
    assert endpoints[NAME.format("")] == {"cluster_name": NAME.format(""), "endpoints": []}


@pytest.mark.parametrize(("name", "http2"), [("http", False), ("http2", True), ("grpc", True), ("grpc-web", False)])
def test_http2_by_port_name(name: str, http2: bool) -> None:
    clusters, _ = made(service("web", f"{name}:80", ips="10.96.0.1"))
    options = clusters[NAME.format("")].get("typed_extension_protocol_options", {})
    assert ("http2_protocol_options" in options.get(OPTIONS, {}).get("explicit_http_config", {})) is http2


def test_subsets_choose_endpoints_by_labels() -> None:
    clusters, endpoints = made(
        WEB,
        pod("a", "app: web, version: v1", "10.244.0.1", "fd01::1"),
        pod("b", "app: web, version: v2", "10.244.0.2"),
        rule("subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: {version: v9}}]"),
    )
    assert set(clusters) == {NAME.format(s) for s in ("", "v1", "v9")}

    def addresses(subset: str) -> list[str]:
        parts = endpoints[NAME.format(subset)]["endpoints"]
        hosts = [h for p in parts for h in p["lb_endpoints"]]
        return [h["endpoint"]["address"]["socket_address"]["address"] for h in hosts]

    assert addresses("") == ["10.244.0.1", "10.244.0.2"], "one address per pod"
    assert addresses("v1") == ["10.244.0.1"]
    assert addresses("v9") == []


def test_ipv6_endpoints_for_a_service_that_is_ipv6_first() -> None:
    _, endpoints = made(
        service("web", "http:80", ips="fd00::1,10.96.0.1"), pod("a", "app: web", "10.244.0.1", "fd01::1")
    )
    host = endpoints[NAME.format("")]["endpoints"][0]["lb_endpoints"][0]
    assert host["endpoint"]["address"]["socket_address"] == {"address": "fd01::1", "port_value": 80}


def test_a_pod_is_as_many_endpoints_as_ports_of_it_are_written_down() -> None:
    written = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{port}, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [10.244.0.9]}}]
ports: [{{name: http, port: {port}}}]
"""
    slices = [written.format(port=port) for port in (8081, 8082)]
    _, endpoints = made(WEB, pod("other", "app: other", "10.244.0.9"), *slices)
    hosts = [h for part in endpoints[NAME.format("")]["endpoints"] for h in part["lb_endpoints"]]
    ports = [h["endpoint"]["address"]["socket_address"]["port_value"] for h in hosts]
    assert sorted(ports)[-2:] == [8081, 8082]


def test_policies() -> None:
    clusters, _ = made(
        WEB,
        rule(
            """
            trafficPolicy:
              loadBalancer: {simple: ROUND_ROBIN}
              connectionPool:
                tcp: {maxConnections: 5, connectTimeout: 30ms}
                http: {maxRequestsPerConnection: 10}
              outlierDetection: {consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m}
            """
        ),
    )
    cluster = clusters[NAME.format("")]
    assert cluster["lb_policy"] == "ROUND_ROBIN"
    assert cluster["connect_timeout"] == "0.030s"
    assert cluster["circuit_breakers"]["thresholds"][0]["max_connections"] == 5
    common = cluster["typed_extension_protocol_options"][OPTIONS]["common_http_protocol_options"]
    assert common["max_requests_per_connection"] == 10
    assert cluster["outlier_detection"] == {
        "enforcing_success_rate": 0,
        "consecutive_5xx": 7,
        "enforcing_consecutive_5xx": 100,
        "interval": "300s",
        "base_ejection_time": "900s",
        "max_ejection_time": "900s",
    }
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}


def test_headless_goes_where_the_client_dialled_and_its_subsets_choose() -> None:
    clusters, endpoints = made(
        service("web", "http:80", ips="None"),
        pod("a", "app: web, version: v1", "10.244.0.1"),
        rule("subsets: [{name: v1, labels: {version: v1}}]"),
    )
    assert clusters[NAME.format("")]["type"] == "ORIGINAL_DST"
    assert clusters[NAME.format("v1")]["type"] == "EDS"
    assert set(endpoints) == {NAME.format("v1")}


def test_rules_of_the_clients_namespace_give_clusters_of_their_own() -> None:
    own = destination_rule(
        "d", "web.default.svc.cluster.local", "trafficPolicy: {loadBalancer: {simple: RANDOM}}", namespace="shop"
    )
    everybody, _ = made(WEB, own)
    shops, _ = made(WEB, own, client="shop")
    assert everybody[NAME.format("")]["lb_policy"] == "LEAST_REQUEST"
    assert shops[NAME.format("@shop")]["lb_policy"] == "RANDOM"


@pytest.mark.case("A2")
def test_without_what_a_rule_says_a_cluster_still_leads_where_it_led() -> None:
    """What serves when Envoy refuses the rule's values: the same subset, protocol and choice of address."""
    policy = """
trafficPolicy:
  connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s}, http: {h2UpgradePolicy: UPGRADE, maxRetries: 2}}
  outlierDetection: {consecutive5xxErrors: 3}
  loadBalancer: {consistentHash: {useSourceIp: true}}
  tls: {mode: SIMPLE}
subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}]
"""
    read = Read(join(config_of(service("web", "http:80"), rule(policy)), ()).tables)
    found = [
        cluster(Registry(read), Rules(read), ClusterKey("web.default.svc.cluster.local", 80, s)) for s in ("", "v1")
    ]
    plain = [made.plain() for made in found if made is not None and made.plain is not None]
    assert [made.name for made in plain] == [made.name for made in found if made is not None]
    whole, subset = (made.body for made in plain)
    assert found[0] is not None
    assert whole.get("transport_socket") == found[0].body["transport_socket"], "never in plain text"
    assert "outlier_detection" not in whole
    assert (whole["lb_policy"], whole["connect_timeout"]) == ("LEAST_REQUEST", "10s")
    assert "http2_protocol_options" in whole["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]
    assert subset["type"] == "ORIGINAL_DST"
    assert subset["metadata"]["filter_metadata"]["istio"]["subset"] == "v1"


MORE = """
trafficPolicy:
  loadBalancer: {warmup: {duration: 60s, aggression: 2}}
  retryBudget: {percent: 30}
  connectionPool:
    http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 7, http2KeepAlive: {interval: 3s, timeout: 1s}}
"""


def test_what_only_envoy_sees() -> None:
    clusters, _ = made(WEB, rule(MORE))
    cluster = clusters[NAME.format("")]
    assert cluster["least_request_lb_config"] == {
        "slow_start_config": {
            "slow_start_window": "60s",
            "aggression": {"default_value": 2.0, "runtime_key": "("},
            "min_weight_percent": {"value": 10.0},
        }
    }
    threshold = cluster["circuit_breakers"]["thresholds"][0]
    assert threshold["retry_budget"] == {"budget_percent": {"value": 30.0}, "min_retry_concurrency": 3}
    http2 = cluster["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]["http2_protocol_options"]
    assert (http2["max_concurrent_streams"], http2["connection_keepalive"]) == (7, {"interval": "3s", "timeout": "1s"})


def test_the_older_warm_up_says_the_time_only() -> None:
    clusters, _ = made(WEB, rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmupDurationSecs: 5s}}"))
    slow_start = clusters[NAME.format("")]["round_robin_lb_config"]["slow_start_config"]
    assert slow_start == {"slow_start_window": "5s"}


def test_tls_of_a_rule_names_secrets_that_the_rule_has() -> None:
    files = "clientCertificate: /c.pem, privateKey: /c.key"
    text = rule(f"trafficPolicy: {{tls: {{mode: MUTUAL, {files}}}}}")
    read = Read(join(config_of(WEB, text), ()).tables)
    found = cluster(Registry(read), Rules(read), ClusterKey("web.default.svc.cluster.local", 80))
    assert found is not None
    folder = "/etc/tidegate/tls/default"
    names = [f"file-cert:{folder}/c.pem~{folder}/c.key", "file-root:system"]
    assert found.needs(SECRETS) == names
    known = secrets(read)
    assert sorted(known) == names
    assert all("DestinationRule" in str(secret.origins) for secret in known.values())
    pair = known[names[0]].body["tls_certificate"]
    assert pair["private_key"] == {"filename": f"{folder}/c.key"}
    assert pair["watched_directory"] == {"path": folder}


def test_a_service_of_which_no_rule_speaks_is_plain_already() -> None:
    read = Read(join(config_of(service("web", "http:80")), ()).tables)
    found = cluster(Registry(read), Rules(read), ClusterKey("web.default.svc.cluster.local", 80))
    assert found is not None
    assert found.plain is None
