"""Ports of a gateway -> Envoy listeners. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tidegate.compile.envoy import bounds
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.gateway.http import connection_manager
from tidegate.compile.gateway.l4 import Forwarding, TunnelOf, named_forwards, plain_forward, tcp_proxy
from tidegate.compile.gateway.ports import GatewayPort, LeftOut, Served
from tidegate.compile.gateway.routes import RulesByGateway, plain_name, secure_name
from tidegate.compile.gateway.tls import Materials, MissingMaterialError, server_context
from tidegate.model.gateway import GatewayWorkload, ServerProtocol, ServerTls
from tidegate.model.net import parse_ip
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ROUTES, EnvoyResource, ResourceRef
from tidegate.model.routing import RouteTarget

HANDSHAKE = "15s"


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
    origins: dict[Origin, None] = field(default_factory=dict)  # of rules
    names: set[str] = field(default_factory=set)  # that have a chain; Envoy refuses a listener with two for one name

    def claim(self, names: Iterable[str]) -> list[str]:
        """Those of the names that no chain has yet; a wildcard for everything stands alone."""
        wanted = ["*"] if "*" in names else sorted(set(names))
        free = [name for name in wanted if name not in self.names]
        self.names.update(free)
        return free


@dataclass(frozen=True, slots=True)
class Around:
    """What the listeners of a workload are made of, beside its ports."""

    workload: GatewayWorkload
    materials: Materials
    rules: RulesByGateway  # that the workload may see
    cluster_of: Callable[[RouteTarget, int], ClusterKey]  # of a target, at a port
    tunnel_of: TunnelOf


def make_listeners(ports: Iterable[GatewayPort], around: Around) -> Made:
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
                _add(chains, made, served, around)
        if chains.made:
            made.listeners[port.name] = _listener(port, around.workload, chains)
    return made


def _add(chains: _Chains, made: Made, served: Served, around: Around) -> None:
    """The chains of a server whose port is not plain HTTP."""
    server = served.server
    if server.tls is None:
        _forward(chains, made, served, around, {"name": _name(served)})
    elif not server.ends_tls:
        found = False
        for number, forward in enumerate(named_forwards(around.rules, served, around.workload)):
            if names := chains.claim(forward.names):
                _add_proxy(chains, served, forward, around, {"name": f"{_name(served)}.{number}", **_match(names)})
                found = True
        if not found:
            made.left_out.append(LeftOut(served, "no VirtualService has a tls route for it"))
    else:
        _end_tls(chains, made, served, server.tls, around)


def _end_tls(chains: _Chains, made: Made, served: Served, tls: ServerTls, around: Around) -> None:
    http = served.server.protocol is ServerProtocol.HTTPS
    try:
        context = server_context(tls, around.materials, http=http)
    except MissingMaterialError as missing:
        made.left_out.append(LeftOut(served, str(missing)))
        return
    names = chains.claim([host.host for host in served.server.hosts])
    if not names:
        made.left_out.append(LeftOut(served, "tls routes of an older server of the port have all of its names"))
        return
    name = secure_name(served) if http else _name(served)
    chain: Json = {
        "name": name,
        **_match(names),
        "transport_socket": context.transport_socket,
        # As long as a handshake may take: whoever begins one and says no more holds a connection.
        "transport_socket_connect_timeout": HANDSHAKE,
    }
    if http:
        made.routes[name] = (served.server.port, [served])
        chain["filters"] = [connection_manager(served.server.name or name, name)]
        chains.made.append(chain)
        chains.refs.add(ResourceRef(ROUTES, name))
    elif not _forward(chains, made, served, around, chain):
        return
    chains.refs |= context.refs
    made.secrets.update({secret.name: secret for secret in context.secrets})


def _forward(chains: _Chains, made: Made, served: Served, around: Around, chain: Json) -> bool:
    forward = plain_forward(around.rules, served, around.workload)
    if forward is None:
        made.left_out.append(LeftOut(served, "no VirtualService has a tcp route for it"))
        return False
    _add_proxy(chains, served, forward, around, chain)
    return True


def _add_proxy(chains: _Chains, served: Served, forward: Forwarding, around: Around, chain: Json) -> None:
    def cluster_of(target: RouteTarget) -> ClusterKey:
        return around.cluster_of(target, served.server.port)

    proxy, uses = tcp_proxy(served.server.name or _name(served), forward, cluster_of, around.tunnel_of)
    chains.made.append({**chain, "filters": [proxy]})
    chains.refs |= {ResourceRef(CLUSTERS, str(key)) for key in uses}
    chains.origins[forward.vs.origin] = None


def _name(served: Served) -> str:
    server, gateway = served.server, served.gateway
    return f"{server.protocol.value}.{server.port}.{server.port_name}.{gateway.name}.{gateway.namespace}"


def _match(names: Sequence[str]) -> Json:
    """What a client has to ask for in its handshake to get a chain; "*" = whatever it asks for, or nothing."""
    return {} if "*" in names else {"filter_chain_match": {"server_names": list(names)}}


def _listener(port: GatewayPort, workload: GatewayWorkload, chains: _Chains) -> EnvoyResource:
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
        body["listener_filters_timeout"] = HANDSHAKE
    origins = dict.fromkeys(served.gateway.origin for served in port.servers) | chains.origins
    return EnvoyResource(port.name, body, tuple(origins), frozenset(chains.refs))


def _address(port: GatewayPort, workload: GatewayWorkload) -> Json:
    if port.bind.startswith("unix:"):
        return {"address": {"pipe": {"path": port.bind.removeprefix("unix:")}}}
    if port.bind:
        return {"address": _socket(str(parse_ip(port.bind)), port.listen)}
    both = {"additional_addresses": [{"address": _socket("::", port.listen)}]} if workload.ipv6 else {}
    return {"address": _socket("0.0.0.0", port.listen), **both}


def _socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}
