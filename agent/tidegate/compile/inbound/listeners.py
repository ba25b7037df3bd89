"""The listener in front of a pod's own ports, and the clusters by which Envoy hands on what came. Pure.

A connection keeps the address that it was sent to, so one listener serves all ports, and a cluster leads on to that
same address, whatever the application listens on. Envoy dials from 127.0.0.6, as Istio's does, or ::1: by that the
kernel knows what it has to leave alone (bpf/core/flow_core.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tidegate.compile.envoy import bounds, http_options, pools, private
from tidegate.compile.envoy.filters import pod_sockets
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.protojson import Json, duration, named, socket_address
from tidegate.compile.inbound.ports import ServedPort
from tidegate.compile.outbound.listeners import pod_address
from tidegate.model.capture import CAPTURE4_INBOUND, CAPTURE6_INBOUND
from tidegate.model.kube import Protocol, ServicePort
from tidegate.model.mesh_config import Compat
from tidegate.model.plan.envoy import INBOUND
from tidegate.model.workload import Sandbox

SOURCE4, SOURCE6 = "127.0.0.6", "::1"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_CONNECT_TIMEOUT_MS = 10_000


def listener_name(sandbox: Sandbox) -> str:
    """As of the outbound one: the cookie tells a pod from the next of its name."""
    return f"inbound|{sandbox.id}|{sandbox.netns_cookie}"


def table_name(number: int) -> str:
    """How Istio calls the routes, and the cluster, of a port."""
    return f"{INBOUND}{number}||"


def cluster_name(number: int, cookie: int) -> str:
    """Of one pod: what patches make of it is nobody else's."""
    return f"{table_name(number)}{cookie}"


def listener(sandbox: Sandbox, ports: Sequence[ServedPort]) -> Json:
    """The listener of one pod with a filter chain for each of these ports."""
    name = listener_name(sandbox)
    body: Json = {
        "name": name,
        "address": pod_address(CAPTURE4_INBOUND, sandbox.capture.envoy4, sandbox),
        "stat_prefix": name,
        "traffic_direction": "INBOUND",
        "enable_reuse_port": False,  # see outbound/listeners.py
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "listener_filters": [
            named(
                "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            )
        ],
        "filter_chains": [_chain(port, sandbox) for port in ports],
    }
    if sandbox.capture.envoy6:
        body["freebind"] = True
        body["additional_addresses"] = [{"address": pod_address(CAPTURE6_INBOUND, sandbox.capture.envoy6, sandbox)}]
    return body


def cluster(port: ServedPort, cookie: int) -> Json:
    """The cluster that leads to the address at which a connection came, or where a Sidecar says."""
    pool = port.pool
    body: Json = {
        "name": cluster_name(port.number, cookie),
        **_where(port, cluster_name(port.number, cookie)),
        "connect_timeout": duration(pool.connect_timeout_ms or _CONNECT_TIMEOUT_MS),
        "circuit_breakers": pools.breakers(pool, None, Compat.CURRENT),
        "upstream_bind_config": _from_loopback(),
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
    }
    if port.protocol.is_http:
        # The application is spoken to as it would have been without Envoy.
        as_client = replace(pool, client_protocol=pool.client_protocol or pool.h2_upgrade is None)
        spoken = http_options.upstream(ServicePort(port.number, protocol=Protocol.HTTP), as_client)
        body["typed_extension_protocol_options"] = {http_options.UPSTREAM_OPTIONS: spoken}
    if keepalive := pools.keepalive(pool):
        body["upstream_connection_options"] = {"tcp_keepalive": keepalive}
    return body


def _where(port: ServedPort, name: str) -> Json:
    it = port.ingress
    if it is None or it.to_address is None:
        to_port: Json = {"original_dst_lb_config": {"upstream_port_override": it.to_port}} if it and it.moves else {}
        return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", **to_port}
    endpoint = {"endpoint": {"address": socket_address(it.to_address, it.to_port)}}
    return {"type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}


def routes(port: ServedPort, cookie: int) -> Json:
    """The routes of an HTTP port, named as Istio names them."""
    action: Json = {"cluster": cluster_name(port.number, cookie), "timeout": "0s"}
    route: Json = {"name": "default", "match": {"prefix": "/"}, "route": dict(action)}
    if port.protocol is not Protocol.GRPC:
        # A server that closes a kept connection without saying so: nobody could tell without Envoy, whose it is.
        route["route"]["retry_policy"] = {"retry_on": "reset-before-request", "num_retries": 2}
    tunnel = {"match": {"connect_matcher": {}}, "route": dict(action)}
    host = {"name": f"inbound|http|{port.number}", "domains": ["*"], "routes": [route, tunnel]}
    return {
        "name": table_name(port.number),
        "virtual_hosts": [host],
        "request_headers_to_remove": [private.INTERNAL],
        "validate_clusters": False,
    }


def _chain(port: ServedPort, sandbox: Sandbox) -> Json:
    filters = [bounds.connection_limit()]
    if sandbox.netns_path:
        filters.append(pod_sockets(sandbox.netns_path))
    cookie = sandbox.netns_cookie
    filters.append(_manager(port, cookie) if port.protocol.is_http else _proxy(port, cookie))
    match = {"destination_port": port.number}
    return {"name": f"0.0.0.0_{port.number}", "filter_chain_match": match, "filters": filters}


def _manager(port: ServedPort, cookie: int) -> Json:
    return named(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix="inbound",
        early_header_mutation_extensions=[_client()],
        route_config=routes(port, cookie),
        http_filters=[
            named(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            named(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
            named(
                "envoy.filters.http.router",
                "envoy.extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,  # what they say was said on the way out
            ),
        ],
        preserve_external_request_id=True,
        **http_options.downstream(),
    )


def _client() -> Json:
    """Says who the client is, which the application no longer sees, unless a proxy on the way has said it."""
    client = {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return named(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"append": {"header": client, "append_action": "ADD_IF_ABSENT"}}],
    )


def _proxy(port: ServedPort, cookie: int) -> Json:
    longest = port.pool.max_connection_ms
    lasting: Json = {"max_downstream_connection_duration": duration(longest)} if longest else {}
    return named(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=table_name(port.number),
        idle_timeout=duration(port.pool.tcp_idle_ms or 0),
        cluster=cluster_name(port.number, cookie),
        **lasting,
    )


def _from_loopback() -> Json:
    selector = "envoy.extensions.local_address_selectors.filter_state_override.v3.Config"
    return {
        "source_address": {"address": SOURCE4, "port_value": 0},
        "extra_source_addresses": [{"address": {"address": SOURCE6, "port_value": 0}}],
        "local_address_selector": named("envoy.upstream.local_address_selector.filter_state_override", selector),
    }
