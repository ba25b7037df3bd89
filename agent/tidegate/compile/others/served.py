"""Facts -> the resources of a client, by kind. Pure; equal clients of the same facts get the same tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from tidegate.compile.facts import Facts
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.others import clusters, grpc
from tidegate.compile.others.client import Client, Flavour
from tidegate.compile.others.inbound import inbound_clusters, inbound_listener, inbound_ports
from tidegate.compile.others.listeners import listeners
from tidegate.compile.others.routes import by_port, route_configuration
from tidegate.compile.others.view import ClientView
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.plan.envoy import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SECRETS,
    EnvoyResource,
    MadeOnDemand,
    Resources,
)


def known(facts: Facts, client: Client) -> Client:
    """The client with what the mesh knows of its pod, which counts more than what it says itself."""
    pod = facts.pods.get(client.pod) if client.pod else None
    if pod is None:
        return client
    labels = tuple(sorted(pod.labels.items()))
    return replace(client, labels=labels, addresses=pod.ips or client.addresses, node=pod.node or client.node)


def resources(facts: Facts, client: Client) -> Resources:
    """Everything that a client may have. What gRPC gets is made when it asks for it by name."""
    view = ClientView(facts, client)
    if client.flavour is Flavour.GRPC:
        return _grpc(view)
    http = by_port(view) if client.flavour is Flavour.SIDECAR else {}
    found: list[EnvoyResource] = list(listeners(view, http)) if client.flavour is Flavour.SIDECAR else []
    made = [item for name in clusters.names(view) if (item := clusters.cluster_of(view, name))]
    if client.captured:
        ports = inbound_ports(view)
        found.append(inbound_listener(ports))
        of_all = (clusters.passthrough(clusters.PASSTHROUGH), clusters.passthrough(clusters.INBOUND_PASSTHROUGH))
        made += [*of_all, *inbound_clusters(ports)]
    made.append(clusters.black_hole())
    routes = [route_configuration(view, number, served) for number, served in http.items()]
    wanted = [name for item in made for name in item.needs(ENDPOINTS)]
    endpoints = [item for name in wanted if (item := clusters.endpoints_of(view, name))]
    of_gateway = _of_gateway(facts, client) if _is_gateway(client) else {}
    return {
        LISTENERS: _table(found) | of_gateway.get(LISTENERS, {}),
        ROUTES: _table(routes) | of_gateway.get(ROUTES, {}),
        CLUSTERS: _table(made) | of_gateway.get(CLUSTERS, {}),
        ENDPOINTS: _table(endpoints) | of_gateway.get(ENDPOINTS, {}),
        SECRETS: {},
    }


def _is_gateway(client: Client) -> bool:
    """Of Istio's gateways those that take everything over one stream, as their resources say."""
    return client.flavour is Flavour.ROUTER and not client.sources.cluster


def _of_gateway(facts: Facts, client: Client) -> dict[str, dict[str, EnvoyResource]]:
    """What Gateways say of a workload with the labels that it says. Nobody is asked who he is, so servers that end TLS
    are left out."""
    v6 = not client.addresses or any(address.version == 6 for address in client.addresses)
    plan = compile_gateway(facts, GatewayWorkload(client.namespace, dict(client.labels), v6), known=False)
    found = {kind: dict(plan.envoy[kind]) for kind in (LISTENERS, ROUTES, CLUSTERS, ENDPOINTS)}
    found[CLUSTERS] = {name: _without_secrets(item) for name, item in found[CLUSTERS].items()}
    return found


def _without_secrets(item: EnvoyResource) -> EnvoyResource:
    """It refers to nothing that is never told."""
    return replace(item, refs=frozenset(ref for ref in item.refs if ref.kind != SECRETS), plain=None)


def _grpc(view: ClientView) -> Resources:
    makers: Mapping[str, Callable[[ClientView, str], EnvoyResource | None]] = {
        LISTENERS: grpc.grpc_listener,
        ROUTES: grpc.grpc_routes,
        CLUSTERS: clusters.cluster_of,
        ENDPOINTS: clusters.endpoints_of,
    }
    return {**{kind: MadeOnDemand(partial(make, view)) for kind, make in makers.items()}, SECRETS: {}}


def _table(items: Iterable[EnvoyResource]) -> dict[str, EnvoyResource]:
    return {item.name: item for item in sorted(items, key=lambda item: item.name)}
