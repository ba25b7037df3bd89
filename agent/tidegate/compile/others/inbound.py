"""What reaches a pod through its sidecar: one listener, a filter chain for each port that services lead to. Pure."""

from __future__ import annotations

from tidegate.compile.envoy.patches.routes import Dialled
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.facts import target_port
from tidegate.compile.others.clusters import INBOUND_PASSTHROUGH, inbound, inbound_name
from tidegate.compile.others.listeners import INBOUND_PORT, connection_manager, tcp_proxy
from tidegate.compile.others.patched import ClientPatches
from tidegate.compile.others.view import ClientView
from tidegate.model.kube import Pod, Protocol
from tidegate.model.names import WorkloadId
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.selectors import selects


def inbound_ports(view: ClientView) -> dict[int, Protocol]:
    """Ports of the client's pod by number, with what the oldest service that leads there says of its protocol."""
    client = view.client
    unknown = WorkloadId(client.namespace, "")
    pod = view.facts.pods.get(client.pod or unknown) or Pod(client.pod or unknown, dict(client.labels))
    out: dict[int, Protocol] = {}
    for service in view.services:
        if service.id.namespace != client.namespace or not service.selector:
            continue
        if selects(service.selector, pod.labels):
            for port in service.tcp_ports:
                if number := target_port(port, pod):
                    out.setdefault(number, port.protocol)
    return out


def inbound_listener(ports: dict[int, Protocol], patches: ClientPatches) -> EnvoyResource:
    """The listener to which Istio's redirection sends what comes to the pod."""
    chains: list[Json] = []
    for number, protocol in sorted(ports.items()):
        name = inbound_name(number)
        filters = [_http(name, number, patches) if protocol.is_http else tcp_proxy(name)]
        chains.append({"name": name, "filter_chain_match": {"destination_port": number}, "filters": filters})
    original = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
    body: Json = {
        "name": "virtualInbound",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": INBOUND_PORT}},
        "traffic_direction": "INBOUND",
        "listener_filters": [named("envoy.filters.listener.original_dst", original)],
        "filter_chains": chains,
        "default_filter_chain": {"filters": [tcp_proxy(INBOUND_PASSTHROUGH)]},
    }
    names = (INBOUND_PASSTHROUGH, *map(inbound_name, ports))
    plain = EnvoyResource("virtualInbound", body, (), frozenset(ResourceRef(CLUSTERS, name) for name in names))
    return patches.by_chains(plain)


def inbound_clusters(ports: dict[int, Protocol]) -> list[EnvoyResource]:
    """The clusters of the listener's chains."""
    return [inbound(number) for number in sorted(ports)]


def _http(cluster: str, number: int, patches: ClientPatches) -> Json:
    route = {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
    tunnel = {"match": {"connect_matcher": {}}, "route": {"cluster": cluster, "timeout": "0s"}}
    host = {"name": f"inbound|http|{number}", "domains": ["*"], "routes": [route, tunnel]}
    body = {"name": cluster, "virtual_hosts": [host]}
    return connection_manager(cluster, route_config=patches.route_body(body, Dialled(cluster, number)))
