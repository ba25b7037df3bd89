"""Clusters of which Envoy finds the endpoints itself: by names that it resolves, at paths of sockets, where a client
dialled. Pure."""

from __future__ import annotations

from tidegate.compile.envoy.protojson import Json, duration
from tidegate.compile.envoy.weights import fitting
from tidegate.compile.registry import Named, Registry
from tidegate.model.entry import Resolution
from tidegate.model.kube import Service, ServicePort
from tidegate.model.selectors import selects
from tidegate.model.traffic import Subset

Found = tuple[Named, ...] | None  # None: Envoy is told addresses


def named_in_subset(registry: Registry, service: Service, port: ServicePort, subset: Subset | None) -> Found:
    """The endpoints that Envoy finds itself; subset None = all."""
    found = registry.named(service, port)
    if not found and not (service.external and service.external.resolution.by_name):
        return None
    return tuple(n for n in found if subset is None or selects(subset.labels, n.workload.labels))


def found_by_envoy(body: Json, service: Service, port: ServicePort, found: Found, refresh_ms: int) -> None:
    """Change a cluster that is about to be told its endpoints into one that finds them.

    refresh_ms: after how long a name is asked again, unless its answer says another time to live.
    """
    if body["type"] == "ORIGINAL_DST":
        if service.as_dialled and port.target:
            body["original_dst_lb_config"] = {"upstream_port_override": port.target}
    elif found is not None and body["type"] == "EDS":
        del body["eds_cluster_config"]
        body.update(_finding(body["name"], service, found, refresh_ms))
        if any(n.workload.path for n in found):
            # A socket of the file system is in no network namespace, and has no source address.
            del body["upstream_bind_config"]


def _finding(name: str, service: Service, found: tuple[Named, ...], refresh_ms: int) -> Json:
    resolution = service.external.resolution if service.external else Resolution.STATIC
    weights = fitting([n.weight for n in found])
    hosts = [
        {"endpoint": {"address": _address(n)}, "load_balancing_weight": w} for n, w in zip(found, weights, strict=True)
    ]
    groups = [{"lb_endpoints": hosts, "load_balancing_weight": sum(weights)}] if hosts else []
    assignment = {"cluster_name": name, "endpoints": groups}
    if not resolution.by_name or not hosts:
        return {"type": "STATIC", "load_assignment": assignment}
    return {
        "type": "LOGICAL_DNS" if resolution is Resolution.DNS_ROUND_ROBIN else "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "dns_refresh_rate": duration(refresh_ms),
        "respect_dns_ttl": True,
        "wait_for_warm_on_init": False,  # nobody else waits for a name server
        "load_assignment": assignment,
    }


def _address(named: Named) -> Json:
    if named.workload.path:
        return {"pipe": {"path": named.workload.path}}
    return {"socket_address": {"address": named.workload.address, "port_value": named.port}}
