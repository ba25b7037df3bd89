"""Facts -> the resources of a client, by kind. Pure; equal clients of the same facts get the same tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tidegate.compile.envoy.patches.selection import Selection
from tidegate.compile.facts import Facts
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.gateway.tls import Materials, secret_if_there
from tidegate.compile.others import clusters, grpc
from tidegate.compile.others.client import Client, Flavour, asking
from tidegate.compile.others.inbound import inbound_clusters, inbound_listener, inbound_ports
from tidegate.compile.others.listeners import listeners
from tidegate.compile.others.patched import ClientPatches, patches_for, selection_of
from tidegate.compile.others.routes import by_port, route_configuration
from tidegate.compile.others.secrets import secret_names, with_secrets
from tidegate.compile.others.view import ClientView
from tidegate.model.envoy_filter import Context, Patch
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


@dataclass(frozen=True, slots=True)
class ClientResources:
    """What a client gets. failures: patches of EnvoyFilters that could not be applied to it, each with the reason."""

    resources: Resources
    failures: Sequence[tuple[Patch, str]] = ()


def asked(facts: Facts) -> frozenset[str]:
    """What EnvoyFilters ask of what proxies say of themselves, by key."""
    return Selection(facts.mesh.envoy_filters).proxy_keys()


def known(facts: Facts, client: Client, keys: frozenset[str] | None = None) -> Client:
    """The client with what the mesh knows of its pod, which counts more than what it says itself, and no more of what
    it says than somebody asks for. keys: asked() of these facts."""
    keys = asked(facts) if keys is None else keys
    metadata = tuple(sorted((key, client.said[key]) for key in keys if key in client.said))
    pod = facts.pods.get(client.pod) if client.pod else None
    if pod is None:
        return replace(client, metadata=metadata, said={})
    labels = tuple(sorted(pod.labels.items()))
    addresses, node = pod.ips or client.addresses, pod.node or client.node
    return replace(client, labels=labels, addresses=addresses, node=node, metadata=metadata, said={})


def resources(facts: Facts, client: Client) -> Resources:
    """Everything that a client may have."""
    return served(facts, client).resources


def served(facts: Facts, client: Client) -> ClientResources:
    """Everything that a client may have. What gRPC gets is made when it asks for it by name, and no EnvoyFilter is for
    it."""
    view = ClientView(facts, client)
    if client.flavour is Flavour.GRPC:
        return ClientResources(_grpc(view))
    return _sidecar(view) if client.flavour is Flavour.SIDECAR else _router(view)


def _sidecar(view: ClientView) -> ClientResources:
    selection = selection_of(view)
    outwards = patches_for(view, selection, Context.SIDECAR_OUTBOUND)
    inwards = patches_for(view, selection, Context.SIDECAR_INBOUND) if view.client.captured else ClientPatches()
    http = by_port(view)
    found = outwards.all_listeners(listeners(view, http.items()))
    routes = [outwards.table(route_configuration(view, number, those), number) for number, those in http.items()]
    # Beside what services and subsets are called, what routes to pods of headless services lead to.
    led_to = [name for item in (*found, *routes) for name in item.needs(CLUSTERS)]
    made = _clusters(view, led_to)
    endpoints = _endpoints(view, made)
    made, secrets = with_secrets(view, made, {})
    made = outwards.all_clusters([*made, clusters.black_hole()])
    if view.client.captured:
        ports = inbound_ports(view)
        found.append(inbound_listener(ports, inwards))
        own = (clusters.passthrough(clusters.INBOUND_PASSTHROUGH), *inbound_clusters(ports))
        made += outwards.all_clusters([clusters.passthrough(clusters.PASSTHROUGH)], adding=False)
        made += inwards.all_clusters(own, adding=False)
    tables = {
        LISTENERS: _table(found),
        ROUTES: _table(routes),
        CLUSTERS: _table(made),
        ENDPOINTS: _table(endpoints),
        SECRETS: secrets,
    }
    return ClientResources(tables, (*outwards.failures, *inwards.failures))


def _router(view: ClientView) -> ClientResources:
    """A gateway: what Gateways say of the labels that it says. Certificates that they name by path are read by its own
    proxy, as upstream; it gets servers whose certificates stand in Secrets if it may have those."""
    patches = patches_for(view, selection_of(view), Context.GATEWAY)
    client = view.client
    own = {s.name: s for s in view.facts.mesh.secrets if client.known and s.namespace == client.namespace}
    v6 = not client.addresses or any(address.version == 6 for address in client.addresses)
    workload = GatewayWorkload(client.namespace, dict(client.labels), v6)
    plan = compile_gateway(view.facts, workload, Materials(by_path=True), known=client.known, ours=False)
    asked = {
        kind: [asking(client.sources, item) for item in plan.envoy[kind].values()] for kind in (LISTENERS, CLUSTERS)
    }
    made = _clusters(view, ())
    endpoints = [*_endpoints(view, made), *plan.envoy[ENDPOINTS].values()]
    made = patches.all_clusters([*made, clusters.black_hole()])
    made = [*_table([*made, *(replace(c, plain=None) for c in asked[CLUSTERS])]).values()]
    names = {name for item in made for name in secret_names(item)}
    given = {name: secret for name in names if (secret := secret_if_there(name, Materials(secrets=own)))}
    made, secrets = with_secrets(view, made, given)
    tables = {
        LISTENERS: _table(asked[LISTENERS]),
        ROUTES: dict(plan.envoy[ROUTES]),
        CLUSTERS: _table(made),
        ENDPOINTS: _table(endpoints),
        SECRETS: {**plan.envoy[SECRETS], **secrets},
    }
    return ClientResources(tables, [*patches.failures, *plan.failures])


def _clusters(view: ClientView, led_to: Iterable[str]) -> list[EnvoyResource]:
    names = dict.fromkeys((*clusters.names(view), *led_to))
    return [item for name in names if (item := clusters.cluster_of(view, name))]


def _endpoints(view: ClientView, made: Iterable[EnvoyResource]) -> list[EnvoyResource]:
    wanted = [name for item in made for name in item.needs(ENDPOINTS)]
    return [item for name in wanted if (item := clusters.endpoints_of(view, name))]


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
