"""Ports of a gateway -> Envoy listeners. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.compile.envoy import bounds
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.gateway.http import connection_manager
from tidegate.compile.gateway.ports import LeftOut, Port, Served
from tidegate.compile.gateway.routes import plain_name, secure_name
from tidegate.compile.gateway.tls import Materials, MissingMaterialError, server_context
from tidegate.model.gateway import GatewayWorkload, ServerProtocol
from tidegate.model.net import parse_ip
from tidegate.model.plan.envoy import ROUTES, EnvoyResource, ResourceRef


@dataclass(slots=True)
class Made:
    """What the listeners of a workload need and could not have."""

    listeners: dict[str, EnvoyResource] = field(default_factory=dict)
    secrets: dict[str, EnvoyResource] = field(default_factory=dict)
    routes: dict[str, tuple[int, list[Served]]] = field(default_factory=dict)  # name -> port, servers
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(slots=True)
class _Chains:
    made: list[Json] = field(default_factory=list)
    refs: set[ResourceRef] = field(default_factory=set)


def make_listeners(ports: Iterable[Port], workload: GatewayWorkload, materials: Materials) -> Made:
    """The listeners of these ports. One of which no server can be served is left out, and its port closed."""
    made = Made()
    for port in ports:
        chains = _Chains()
        if port.plain_http:
            name = plain_name(port)
            made.routes[name] = (port.number, port.servers)
            chains.made.append(
                {"name": name, "filters": [connection_manager(port.servers[0].server.name or name, name)]}
            )
            chains.refs.add(ResourceRef(ROUTES, name))
        else:
            for served in port.servers:
                _add(chains, made, served, materials)
        if chains.made:
            made.listeners[port.name] = _listener(port, workload, chains)
    return made


def _add(chains: _Chains, made: Made, served: Served, materials: Materials) -> None:
    server = served.server
    if server.tls is None or not server.ends_tls or server.protocol is not ServerProtocol.HTTPS:
        return
    try:
        context = server_context(server.tls, materials, http=True)
    except MissingMaterialError as missing:
        made.left_out.append(LeftOut(served, str(missing)))
        return
    name = secure_name(served)
    made.routes[name] = (server.port, [served])
    made.secrets.update({secret.name: secret for secret in context.secrets})
    chains.refs |= {ResourceRef(ROUTES, name), *context.refs}
    chain: Json = {
        "name": name,
        "filters": [connection_manager(server.name or name, name)],
        "transport_socket": context.transport_socket,
        # As long as a handshake may take: whoever begins one and says no more holds a connection.
        "transport_socket_connect_timeout": "15s",
    }
    if names := server_names(served):
        chain["filter_chain_match"] = {"server_names": names}
    chains.made.append(chain)


def server_names(served: Served) -> list[str]:
    """Names that a client may ask for in its handshake to get this server; none = whatever it asks for."""
    hosts = [host.host for host in served.server.hosts]
    return [] if "*" in hosts else sorted(set(hosts))


def _listener(port: Port, workload: GatewayWorkload, chains: _Chains) -> EnvoyResource:
    body: Json = {
        "name": port.name,
        "stat_prefix": port.name,
        "traffic_direction": "OUTBOUND",
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "filter_chains": chains.made,
        **_address(port, workload),
    }
    if port.secure:
        inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        body["listener_filters"] = [named("envoy.filters.listener.tls_inspector", inspector)]
        body["listener_filters_timeout"] = "15s"
    origins = tuple(dict.fromkeys(served.gateway.origin for served in port.servers))
    return EnvoyResource(port.name, body, origins, frozenset(chains.refs))


def _address(port: Port, workload: GatewayWorkload) -> Json:
    if port.bind.startswith("unix:"):
        return {"address": {"pipe": {"path": port.bind.removeprefix("unix:")}}}
    if port.bind:
        return {"address": _socket(str(parse_ip(port.bind)), port.listen)}
    both = {"additional_addresses": [{"address": _socket("::", port.listen)}]} if workload.ipv6 else {}
    return {"address": _socket("0.0.0.0", port.listen), **both}


def _socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}
