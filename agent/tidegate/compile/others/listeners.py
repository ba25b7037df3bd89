"""Listeners of an Envoy beside a pod, towards others. Pure.

Where connections are redirected to it (iptables), they come to one port and are handed to the listener of the address
that was dialled: VIP_PORT for TCP, 0.0.0.0_PORT for HTTP, none of which is bound. Where they are not, each port of the
mesh is one of the loopback address, and the client names it: there an HTTP port wins over TCP, and the older service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.compile.envoy import bounds, http_options
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.others.clusters import PASSTHROUGH
from tidegate.compile.others.view import ClientView
from tidegate.compile.rules import balancer
from tidegate.model.kube import Service, ServicePort
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ROUTES, EnvoyResource, ResourceRef

OUTBOUND_PORT, INBOUND_PORT = 15001, 15006  # to which Istio's redirection sends connections
LOOPBACK = "127.0.0.1"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER_FILTER = "envoy.filters.http.router"


def listeners(view: ClientView, http: dict[int, list[tuple[Service, ServicePort]]]) -> Iterator[EnvoyResource]:
    """Every listener. http: service ports by number, each with its route configuration."""
    for number, served in http.items():
        if view.client.captured and number in (OUTBOUND_PORT, INBOUND_PORT):
            continue  # Envoy has one listener for an address, and these are taken
        yield _http(view, number, tuple(service.origin for service, _ in served))
    yield from _of_tcp(view, set(http))
    if view.client.captured:
        yield _virtual_outbound(view)


def _http(view: ClientView, number: int, origins: tuple[Origin, ...]) -> EnvoyResource:
    manager = connection_manager(f"outbound_{number}", rds=rds(view, str(number)))
    address = _any_address(view) if view.client.captured else LOOPBACK
    return _listener(view, address, number, [manager], origins, ResourceRef(ROUTES, str(number)))


def _of_tcp(view: ClientView, taken: set[int]) -> Iterator[EnvoyResource]:
    places: set[tuple[str, int]] = set()
    for service, port in view.ports():
        if port.protocol.is_http or service.external_name:
            continue
        dialled = _dialled(view, service) if view.client.captured else [LOOPBACK]
        for address in dialled:
            if (address, port.port) in places or (address == LOOPBACK and port.port in taken):
                continue
            places.add((address, port.port))
            cluster = view.shown(ClusterKey(service.id.fqdn, port.port))
            filters = [tcp_proxy(cluster, **_hashed(view, service, port))]
            yield _listener(view, address, port.port, filters, (service.origin,), ResourceRef(CLUSTERS, cluster))


def _dialled(view: ClientView, service: Service) -> list[str]:
    """Virtual addresses, or those of the pods that a headless name resolves to; never the client's own."""
    if not service.headless:
        return [str(address) for address in service.addresses]
    pods = (address for pod in view.registry.selected(service) for address in pod.ips)
    return [str(address) for address in dict.fromkeys(pods) if address not in view.client.addresses]


def _hashed(view: ClientView, service: Service, port: ServicePort) -> Json:
    policy = view.rules.policy_of(service.id, view.source).for_port(port.port)
    chosen = balancer(service, policy, view.rules.mesh)
    return {"hash_policy": [{"source_ip": {}}]} if chosen and chosen.hash and chosen.hash.source_ip else {}


def _listener(
    view: ClientView, address: str, number: int, filters: list[Json], origins: tuple[Origin, ...], ref: ResourceRef
) -> EnvoyResource:
    name = f"{address}_{number}"
    body: Json = {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": number}},
        "traffic_direction": "OUTBOUND",
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "filter_chains": [{"filters": filters}],
    }
    if view.client.captured:
        body["bind_to_port"] = False
    return EnvoyResource(name, body, origins, frozenset({ref}))


def _virtual_outbound(view: ClientView) -> EnvoyResource:
    """Takes every connection, and what no other listener is for on to where it was dialled."""
    body: Json = {
        "name": "virtualOutbound",
        "address": {"socket_address": {"address": _any_address(view), "port_value": OUTBOUND_PORT}},
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
        "filter_chains": [{"filters": [tcp_proxy(PASSTHROUGH)]}],
    }
    return EnvoyResource("virtualOutbound", body, (), frozenset({ResourceRef(CLUSTERS, PASSTHROUGH)}))


def _any_address(view: ClientView) -> str:
    own = view.client.addresses
    return "::" if own and all(address.version == 6 for address in own) else "0.0.0.0"


def rds(view: ClientView, name: str) -> Json:
    """Where the routes of a connection manager come from."""
    return {"route_config_name": name, "config_source": view.client.sources.as_json()}


def connection_manager(stat_prefix: str, **routes: Any) -> Json:
    """The filter that serves HTTP. routes: rds, or route_config."""
    return named(
        "envoy.filters.network.http_connection_manager",
        HCM,
        stat_prefix=stat_prefix,
        http_filters=[
            named(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            named(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
            named(ROUTER_FILTER, "envoy.extensions.filters.http.router.v3.Router"),
        ],
        preserve_external_request_id=True,
        **http_options.downstream(),
        **routes,
    )


def tcp_proxy(cluster: str, **more: Any) -> Json:
    """The filter that takes a connection to a cluster."""
    kind = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return named("envoy.filters.network.tcp_proxy", kind, stat_prefix=cluster, cluster=cluster, **more)
