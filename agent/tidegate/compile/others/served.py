"""Facts -> the resources of a client, by kind. Pure; equal clients of the same facts get the same tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from tidegate.compile.facts import Facts
from tidegate.compile.others import clusters, grpc
from tidegate.compile.others.client import Client, Flavour
from tidegate.compile.others.inbound import inbound_clusters, inbound_listener, inbound_ports
from tidegate.compile.others.listeners import listeners
from tidegate.compile.others.routes import by_port, route_configuration
from tidegate.compile.others.view import ClientView
from tidegate.model.plan.envoy import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SECRETS,
    EnvoyResource,
    MadeOnDemand,
    Resources,
    ResourcesByName,
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
    return {
        LISTENERS: _table(found),
        ROUTES: _table(routes),
        CLUSTERS: _table(made),
        ENDPOINTS: _table(item for name in wanted if (item := clusters.endpoints_of(view, name))),
        SECRETS: {},
    }


def _grpc(view: ClientView) -> Resources:
    makers: Mapping[str, Callable[[ClientView, str], EnvoyResource | None]] = {
        LISTENERS: grpc.grpc_listener,
        ROUTES: grpc.grpc_routes,
        CLUSTERS: clusters.cluster_of,
        ENDPOINTS: clusters.endpoints_of,
    }
    return {**{kind: MadeOnDemand(partial(make, view)) for kind, make in makers.items()}, SECRETS: {}}


def _table(items: Iterable[EnvoyResource]) -> ResourcesByName:
    return {item.name: item for item in sorted(items, key=lambda item: item.name)}
