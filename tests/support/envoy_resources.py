"""Small Envoy resources written by hand, as the compiler would make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, EnvoyResource, ResourceRef

CAPTURE = "127.77.0.2"
CAPTURE_PORT = 15001
ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
Resources = dict[str, dict[str, EnvoyResource]]


def cluster(name: str, **more: Any) -> EnvoyResource:
    """An EDS cluster."""
    body = {"name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ADS}, **more}
    return EnvoyResource(
        name,
        body,
        (Origin("Service", "default", name, "web.yaml", 1),),
        frozenset({ResourceRef(ENDPOINTS, name)}) if body["type"] == "EDS" else frozenset(),
    )


def endpoints(name: str, *ports: int) -> EnvoyResource:
    """Endpoints of a cluster on this machine's loopback."""
    members = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    return EnvoyResource(name, {"cluster_name": name, "endpoints": [{"lb_endpoints": members}]})


def route(name: str, weights: Mapping[str, int], **action: Any) -> EnvoyResource:
    """A route configuration that splits everything between clusters by weight."""
    split = {"clusters": [{"name": cluster, "weight": weight} for cluster, weight in weights.items()]}
    body = {
        "name": name,
        # The publisher guarantees the order; Envoy need not look.
        "validate_clusters": False,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"weighted_clusters": split, **action}}],
            }
        ],
    }
    return EnvoyResource(
        name,
        body,
        (Origin("VirtualService", "default", name, "web.yaml", 12),),
        frozenset(ResourceRef(CLUSTERS, cluster) for cluster in weights),
    )


def listener(name: str, netns: str, route_name: str, *, port: int = CAPTURE_PORT, **hcm: Any) -> EnvoyResource:
    """A listener inside a pod's netns whose routes come over RDS."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "outbound",
        "rds": {"route_config_name": route_name, "config_source": ADS},
        "http_filters": [ROUTER],
        **hcm,
    }
    address = {"address": CAPTURE, "port_value": port, "network_namespace_filepath": netns}
    body = {
        "name": name,
        "address": {"socket_address": address},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return EnvoyResource(name, body, (Origin("Pod", "default", name),), frozenset({ResourceRef(ROUTES, route_name)}))


def resources(*items: tuple[str, EnvoyResource]) -> Resources:
    """Group resources by kind."""
    out: Resources = {LISTENERS: {}, ROUTES: {}, CLUSTERS: {}, ENDPOINTS: {}}
    for kind, item in items:
        out[kind][item.name] = item
    return out


def website(netns: str, ports: Mapping[str, int], weights: Mapping[str, int], **more: Any) -> Resources:
    """One pod listener, one route, one cluster per version: ports and weights are by version."""
    return resources(
        *((CLUSTERS, cluster(f"web-{version}", **more)) for version in ports),
        *((ENDPOINTS, endpoints(f"web-{version}", port)) for version, port in ports.items()),
        (LISTENERS, listener("pod", netns, "web")),
        (ROUTES, route("web", {f"web-{version}": weight for version, weight in weights.items()})),
    )
