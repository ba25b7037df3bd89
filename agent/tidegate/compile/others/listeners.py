"""Listeners of an Envoy beside a pod, towards others. Pure.

Where connections are redirected to it (iptables), they come to one port and are handed to the listener of the address
that was dialled: VIP_PORT for TCP, 0.0.0.0_PORT for HTTP, none of which is bound. Where they are not, each port of the
mesh is one of the loopback address, and the client names it: there an HTTP port wins over TCP, and the older service.
What is for no listener goes on to where it was dialled, or nowhere if the mesh says so (outboundTrafficPolicy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tidegate.compile.envoy import bounds, http_options
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.others.clusters import BLACK_HOLE, PASSTHROUGH
from tidegate.compile.others.connections import LOOPBACK, OpenListener, OpenListeners, add_connections
from tidegate.compile.others.routes import PortServices
from tidegate.compile.others.view import ClientView
from tidegate.compile.outbound.forwards import HELLO_SECONDS
from tidegate.model.plan.envoy import CLUSTERS, ROUTES, EnvoyResource, ResourceRef

OUTBOUND_PORT, INBOUND_PORT = 15001, 15006  # to which Istio's redirection sends connections
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER_FILTER = "envoy.filters.http.router"


def listeners(view: ClientView, http: Iterable[tuple[int, PortServices]]) -> Iterator[EnvoyResource]:
    """Every listener. http: service ports by number, each with its route configuration."""
    places = OpenListeners()
    for number, served in http:
        if view.client.captured and number in (OUTBOUND_PORT, INBOUND_PORT):
            continue  # Envoy has one listener for an address, and these are taken
        place = places.at(view.any_address if view.client.captured else LOOPBACK, number)
        manager = connection_manager(f"outbound_{number}", rds=rds(view, str(number)))
        places.add(place, {"filters": [manager]})
        place.refs.add(ResourceRef(ROUTES, str(number)))
        place.origins.update(dict.fromkeys(service.origin for service, _ in served))
    add_connections(view, places)
    for place in places.made.values():
        if place.chains:
            yield _listener(view, place)
    if view.client.captured:
        yield _virtual_outbound(view)


def _listener(view: ClientView, place: OpenListener) -> EnvoyResource:
    name = f"{place.address}_{place.port}"
    body: Json = {
        "name": name,
        "address": {"socket_address": {"address": place.address, "port_value": place.port}},
        "traffic_direction": "OUTBOUND",
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "filter_chains": place.chains,
    }
    if place.names:
        inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        body["listener_filters"] = [named("envoy.filters.listener.tls_inspector", inspector)]
        body["listener_filters_timeout"] = f"{HELLO_SECONDS}s"
        body["continue_on_listener_filters_timeout"] = True
    if view.client.captured:
        body["bind_to_port"] = False
    return EnvoyResource(name, body, tuple(place.origins), frozenset(place.refs))


def _virtual_outbound(view: ClientView) -> EnvoyResource:
    """Takes every connection, and what no other listener is for on to where it was dialled, or nowhere."""
    rest = BLACK_HOLE if view.registry_only else PASSTHROUGH
    body: Json = {
        "name": "virtualOutbound",
        "address": {"socket_address": {"address": view.any_address, "port_value": OUTBOUND_PORT}},
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
        "filter_chains": [{"filters": [tcp_proxy(rest)]}],
    }
    return EnvoyResource("virtualOutbound", body, (), frozenset({ResourceRef(CLUSTERS, rest)}))


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
