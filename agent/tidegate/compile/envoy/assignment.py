"""The endpoints of a cluster as Envoy gets them. Pure."""

from __future__ import annotations

from tidegate.compile.envoy.protojson import Json, socket_address
from tidegate.compile.envoy.weights import fitting
from tidegate.compile.localities import Group


def assignment(name: str, groups: tuple[Group, ...]) -> Json:
    """envoy.config.endpoint.v3.ClusterLoadAssignment of a cluster."""
    weights = fitting([group.weight for group in groups])
    return {"cluster_name": name, "endpoints": [_group(*each) for each in zip(groups, weights, strict=True)]}


def _group(group: Group, weight: int) -> Json:
    hosts = [
        {
            "endpoint": {"address": socket_address(e.address, e.port)},
            "load_balancing_weight": of_host,
            "metadata": {"filter_metadata": {"istio": {"workload": e.name}}},
        }
        for e, of_host in zip(group.members, fitting([e.weight for e in group.members]), strict=True)
    ]
    # A locality needs a weight for clients that insist on one (gRPC without a proxy).
    out: Json = {"lb_endpoints": hosts, "load_balancing_weight": weight}
    if group.priority:
        out["priority"] = group.priority
    if group.place is not None:
        region, zone, subzone = group.place
        out["locality"] = {"region": region, "zone": zone, "sub_zone": subzone}
    return out
