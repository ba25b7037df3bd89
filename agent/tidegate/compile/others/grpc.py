"""What gRPC takes of the mesh without a proxy: listeners by the name that is dialled, and what they lead to. Pure.

gRPC refuses more than Envoy (a filter's settings that it does not know, a policy that it does not have) and reads less:
what it would ignore is left out, what it would refuse never stands in its way (decision 24).
"""

from __future__ import annotations

from typing import Any

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import FAULT_FILTER
from tidegate.compile.envoy.protojson import Json, named, typed
from tidegate.compile.others.listeners import HCM, ROUTER_FILTER, rds
from tidegate.compile.others.routes import shown_routes
from tidegate.compile.others.view import ClientView
from tidegate.errors import Rejected
from tidegate.model.net import host_port, parse_ip, split_destination
from tidegate.model.plan.envoy import ROUTES, EnvoyResource, ResourceRef

SERVER_PREFIX = "xds.istio.io/grpc/lds/inbound/"  # server_listener_resource_name_template of Istio's gRPC bootstrap
_FILTERS = {
    FAULT_FILTER: "envoy.extensions.filters.http.fault.v3.HTTPFault",
    ROUTER_FILTER: "envoy.extensions.filters.http.router.v3.Router",
}
_MATCH_FIELDS = ("prefix", "path", "safe_regex", "case_sensitive", "query_parameters")
_ACTION_FIELDS = ("cluster", "weighted_clusters", "retry_policy")
_CHANNEL = "io.grpc.channel_id"  # what is the same for all calls of one channel


def grpc_listener(view: ClientView, name: str) -> EnvoyResource | None:
    """The listener of what a client dials (xds:///NAME) or a server listens on; None if nobody is known by it."""
    if name.startswith(SERVER_PREFIX):
        return _server(name)
    try:
        host, number = split_destination(name)
    except Rejected:
        return None
    service = view.named(host)
    ports = [port for port in service.tcp_ports if number in (None, port.port)] if service else []
    ports = [port for port in ports if service and view.sees(service, port.port)]
    if service is None or not ports or (number is None and len(ports) > 1):
        return None
    routes = view.shown(ClusterKey(service.id.fqdn, ports[0].port))
    manager = typed(HCM, rds=rds(view, routes), http_filters=[named(n, kind) for n, kind in _FILTERS.items()])
    body = {"name": name, "api_listener": {"api_listener": manager}}
    return EnvoyResource(name, body, (service.origin,), frozenset({ResourceRef(ROUTES, routes)}))


def grpc_routes(view: ClientView, name: str) -> EnvoyResource | None:
    """The routes of a service port, under the name that its plain cluster has too."""
    key = view.meant(name)
    service = view.facts.services.get(key.fqdn) if key else None
    port = service.port(key.port) if service and key else None
    if key is None or service is None or port is None or key.subset:
        return None
    refs: set[ResourceRef] = set()
    seen = view.routes.for_client(service, port, view.source)
    routes = [made for route in shown_routes(view, seen.routes, refs) if (made := _route(route)) is not None]
    hosts = view.hosts(service)
    domains = [*hosts, *(host_port(host, port.port) for host in hosts)]
    body = {"name": name, "virtual_hosts": [{"name": name, "domains": domains, "routes": routes}]}
    origins = (service.origin, *((seen.owner.origin,) if seen.owner else ()))
    return EnvoyResource(name, body, origins, frozenset(refs))


def _route(route: Json) -> Json | None:
    """A route as gRPC reads it; None for one that no call can take."""
    match = _match(route["match"])
    if match is None:
        return None
    out: Json = {"match": match}
    if "route" in route:
        out["route"] = _action(route["route"])
    else:
        out |= {key: route[key] for key in ("redirect", "direct_response") if key in route}
    fault = route.get("typed_per_filter_config", {}).get(FAULT_FILTER)
    if fault is not None:
        out["typed_per_filter_config"] = {FAULT_FILTER: fault}
    return out


def _match(match: Json) -> Json | None:
    """Every call is a POST; what host and scheme it has gRPC does not compare."""
    if "connect_matcher" in match:
        return None
    headers = []
    for condition in match.get("headers", ()):
        if condition["name"] == ":method":
            if not _takes_post(condition):
                return None
        elif condition["name"].startswith(":"):
            return None
        else:
            headers.append(condition)
    out = {field: match[field] for field in _MATCH_FIELDS if field in match}
    return {**out, "headers": headers} if headers else out


def _takes_post(condition: Json) -> bool:
    import re2

    how: dict[str, Any] = condition.get("string_match", {})
    if "exact" in how:
        fits = how["exact"] == "POST"
    elif "prefix" in how:
        fits = "POST".startswith(how["prefix"])
    else:
        fits = "safe_regex" not in how or re2.fullmatch(how["safe_regex"]["regex"], "POST") is not None
    return bool(fits) != bool(condition.get("invert_match"))


def _action(action: Json) -> Json:
    out = {field: action[field] for field in _ACTION_FIELDS if field in action}
    if "weighted_clusters" in out:
        clusters = [{"name": c["name"], "weight": c["weight"]} for c in out["weighted_clusters"]["clusters"]]
        out["weighted_clusters"] = {"clusters": clusters}
    if action.get("timeout", "0s") != "0s":
        out["max_stream_duration"] = {"max_stream_duration": action["timeout"]}
    if "retry_policy" in out:
        kept = ("retry_on", "num_retries", "retry_back_off")
        out["retry_policy"] = {key: value for key, value in out["retry_policy"].items() if key in kept}
    hashes = [made for policy in action.get("hash_policy", ()) if (made := _hash(policy)) is not None]
    return {**out, "hash_policy": hashes} if hashes else out


def _hash(policy: Json) -> Json | None:
    """By header as anybody; by the client's address, which a channel does not know of itself, by channel."""
    if "header" in policy:
        return policy
    return {"filter_state": {"key": _CHANNEL}} if "connection_properties" in policy else None


def _server(name: str) -> EnvoyResource | None:
    """The listener of a gRPC server: every call is its own to answer."""
    try:
        host, number = split_destination(name.removeprefix(SERVER_PREFIX))
        address = parse_ip(host)
    except (Rejected, ValueError):
        return None
    if number is None:
        return None
    route = {"match": {"prefix": "/"}, "non_forwarding_action": {}}
    manager = typed(
        HCM,
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        http_filters=[named(ROUTER_FILTER, _FILTERS[ROUTER_FILTER])],
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    body = {
        "name": name,
        "address": {"socket_address": {"address": str(address), "port_value": number}},
        "traffic_direction": "INBOUND",
        "filter_chains": [{"name": "inbound", **chain}],
    }
    return EnvoyResource(name, body)
