"""Enrolled pods -> Envoy listeners inside their netns, one filter chain each. Pure, one pod at a time."""

from __future__ import annotations

from tidegate.compile.envoy import bounds
from tidegate.compile.envoy.filters import connection_manager, pod_sockets
from tidegate.compile.envoy.protojson import Json, named
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EVERY, SCOPES, EnvoyResource, ResourceRef
from tidegate.model.workload import Sandbox


def listener_name(sandbox: Sandbox) -> str:
    """The cookie is in the name: a pod's next sandbox has the same address in another netns, and Envoy would hand the
    old socket over to a listener of the same name."""
    return f"outbound|{sandbox.id}|{sandbox.netns_cookie}"


def pod_listener(sandbox: Sandbox, origins: tuple[Origin, ...]) -> EnvoyResource:
    """The listener of one pod."""
    name = listener_name(sandbox)
    filters = [bounds.connection_limit()]
    if sandbox.netns_path:
        filters.append(pod_sockets(sandbox.netns_path))
    filters.append(connection_manager(str(sandbox.id), sandbox.netns_cookie))
    body: Json = {
        "name": name,
        "address": pod_address(CAPTURE4_ENVOY, sandbox.capture.envoy4, sandbox),
        # Envoy would count by address, and pods may have equal addresses and ports, each in its own netns.
        "stat_prefix": name,
        "traffic_direction": "OUTBOUND",
        # Envoy's default is a SO_REUSEPORT group, which any process of our uid in the pod's netns may join and so take
        # a share of the connections. One socket, shared by Envoy's workers, cannot be joined.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "listener_filters": [
            named(
                "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            )
        ],
        "filter_chains": [{"name": "http", "filters": filters}],
    }
    if sandbox.capture.envoy6:
        # The v6 capture prefix is routed to the pod's lo but is no address of any interface; while IPv6 is switched off
        # inside it is not even routed, and nothing is sent there.
        body["freebind"] = True
        body["additional_addresses"] = [{"address": pod_address(CAPTURE6_ENVOY, sandbox.capture.envoy6, sandbox)}]
    return EnvoyResource(name, body, origins, frozenset({ResourceRef(SCOPES, EVERY)}))


def pod_address(address: IPAddress, port: int, sandbox: Sandbox) -> Json:
    """envoy.config.core.v3.Address of a listener inside a pod."""
    out: Json = {"address": str(address), "port_value": port}
    if sandbox.netns_path:
        out["network_namespace_filepath"] = sandbox.netns_path
    return {"socket_address": out}
