"""Clusters and endpoints as other data planes take them: the node's, less what only the node's Envoy can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.others.view import ClientView
from tidegate.model.plan.envoy import ENDPOINTS, SECRETS, EnvoyResource, ResourceRef

PASSTHROUGH, BLACK_HOLE, INBOUND_PASSTHROUGH = "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"
# Of a cluster, what gRPC reads; the rest is left out, so that nothing in it can be refused.
_GRPC_FIELDS = ("name", "type", "eds_cluster_config", "lb_policy", "ring_hash_lb_config", "circuit_breakers")


def names(view: ClientView) -> Iterator[str]:
    """Every cluster of services that the client may use."""
    for service, port in view.ports():
        policy = view.rules.policy_of(service.id, view.source)
        for subset in ("", *(s.name for s in policy.subsets)):
            yield view.shown(ClusterKey(service.id.fqdn, port.port, subset))


def cluster_of(view: ClientView, name: str) -> EnvoyResource | None:
    """The cluster of a name, None if nobody defines it."""
    key = view.meant(name)
    made = cluster(view.registry, view.rules, key, credentials=view.own_secrets, of_pods=False) if key else None
    if made is None:
        return None
    body = {**made.body, "name": name}
    body.pop("upstream_bind_config", None)  # sockets inside of the asking pod: the node's business
    eds = body["type"] == "EDS"
    if eds:
        body["eds_cluster_config"] = {"eds_config": view.client.sources.as_json(), "service_name": name}
    if "load_assignment" in body:
        body["load_assignment"] = {**body["load_assignment"], "cluster_name": name}
    if view.grpc:
        told = _for_grpc(body)
        if told is None:
            return None
        body = told
    refs = {ref for ref in made.refs if ref.kind == SECRETS and not view.grpc}
    return EnvoyResource(name, body, made.origins, frozenset(refs | {ResourceRef(ENDPOINTS, name)} if eds else refs))


def endpoints_of(view: ClientView, name: str) -> EnvoyResource | None:
    """The endpoints of the cluster of a name, None if it has none of its own."""
    key = view.meant(name)
    made = endpoints(view.registry, view.rules, key) if key else None
    if made is None:
        return None
    # gRPC insists on a locality, and refuses an address that stands there twice.
    told: set[tuple[str, int]] = set()
    groups = [
        {"locality": {}, **group, "lb_endpoints": [e for e in group["lb_endpoints"] if _first(e, told)]}
        for group in made.body["endpoints"]
    ]
    return EnvoyResource(name, {**made.body, "cluster_name": name, "endpoints": groups}, made.origins)


def _first(endpoint: Json, told: set[tuple[str, int]]) -> bool:
    """Whether an endpoint's address is new to told, in which it is afterwards."""
    at = endpoint["endpoint"]["address"].get("socket_address")
    place = (at["address"], at["port_value"]) if at else ("", id(endpoint))
    if place in told:
        return False
    told.add(place)
    return True


def _for_grpc(body: Json) -> Json | None:
    """What gRPC takes of a cluster (gRFC A27, A32, A37, A42); None if it can do nothing with it."""
    if body["type"] in ("STRICT_DNS", "LOGICAL_DNS"):
        # One name is what gRPC resolves; of several the first.
        (first, *_) = body["load_assignment"]["endpoints"]
        one = [{"lb_endpoints": first["lb_endpoints"][:1]}]
        return {
            "name": body["name"],
            "type": "LOGICAL_DNS",
            "load_assignment": {**body["load_assignment"], "endpoints": one},
        }
    if body["type"] != "EDS":
        return None
    out = {field: body[field] for field in _GRPC_FIELDS if field in body}
    thresholds = [_only(t, "max_requests") for t in body.get("circuit_breakers", {}).get("thresholds", ())]
    out["circuit_breakers"] = {"thresholds": thresholds}
    if body["lb_policy"] == "MAGLEV":
        # Another consistent hash, which it has; a table of fixed size is what only Maglev needs.
        out["lb_policy"] = "RING_HASH"
    elif body["lb_policy"] != "RING_HASH":
        out["lb_policy"] = "ROUND_ROBIN"  # the one that every implementation has
    return out


def _only(value: dict[str, Any], *keys: str) -> Json:
    return {key: value[key] for key in keys if key in value}


def passthrough(name: str) -> EnvoyResource:
    """Where what was dialled is the endpoint."""
    body = {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s"}
    if name == INBOUND_PASSTHROUGH:
        body |= _from_the_proxy()
    return EnvoyResource(name, body)


def black_hole() -> EnvoyResource:
    """Nobody."""
    body = {"name": BLACK_HOLE, "type": "STATIC", "connect_timeout": "1s"}
    return EnvoyResource(BLACK_HOLE, body)


def inbound(port: int) -> EnvoyResource:
    """The application itself, at the pod's address."""
    name = inbound_name(port)
    body = {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s"}
    return EnvoyResource(name, body | _from_the_proxy())


def inbound_name(port: int) -> str:
    """Istio's name of the cluster of one port of the application."""
    return f"inbound|{port}||"


def _from_the_proxy() -> Json:
    """The source address by which Istio's redirection knows what the proxy itself sends to the application."""
    return {"upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}}
