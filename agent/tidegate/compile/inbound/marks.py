"""When clients have to dial a service anew: a connection of before an EnvoyFilter passes Envoy in front of the pod by.

Envoy keeps connections to endpoints for an hour, and replaces a cluster that changes without failing a request: those
under way end on the old connections, all others begin new ones. So an HTTP cluster carries which inbound patches its
pods may have. Pure; by what is written of the service, not by its pods: a pod that comes or goes changes no cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from tidegate.compile.envoy import private
from tidegate.compile.envoy.patches.selection import Patches
from tidegate.compile.envoy.patches.served import PatchedPort
from tidegate.compile.inbound.listeners import table_name
from tidegate.model.envoy_filter import (
    LISTENER_SIDE,
    ROUTE_SIDE,
    ApplyTo,
    ClusterMatch,
    Context,
    EnvoyFilter,
    ListenerMatch,
    Patch,
    RouteMatch,
)
from tidegate.model.kube import Service, ServicePort
from tidegate.model.names import ROOT_NAMESPACE
from tidegate.model.plan.envoy import EnvoyResource

KEY = "inbound"  # in the cluster's metadata
_DIGITS = 8
_ANY_LISTENER, _ANY_ROUTES, _ANY_CLUSTER = ListenerMatch(), RouteMatch(), ClusterMatch()


def marked(
    made: EnvoyResource, filters: Sequence[EnvoyFilter], service: Service, port: ServicePort, root: str = ROOT_NAMESPACE
) -> EnvoyResource:
    """A cluster of a service port, with what tells it from the same one before these filters were in force."""
    found = concerning(filters, service, port, root) if port.protocol.is_http else ()
    if not found:
        return made
    told = sha256(repr([patch.title for patch in found]).encode()).hexdigest()[:_DIGITS]
    metadata = made.body.get("metadata", {})
    told_before = metadata.get("filter_metadata", {})
    filter_metadata = {**told_before, private.METADATA: {**told_before.get(private.METADATA, {}), KEY: told}}
    plain = made.plain
    return replace(
        made,
        body={**made.body, "metadata": {**metadata, "filter_metadata": filter_metadata}},
        plain=None if plain is None else lambda: marked(plain(), filters, service, port, root),
    )


def concerning(
    filters: Sequence[EnvoyFilter], service: Service, port: ServicePort, root: str = ROOT_NAMESPACE
) -> Patches:
    """Patches that may change what comes to pods behind a service port."""
    it = PatchedPort(
        port=port.target or port.port if isinstance(port.target, int) else 0,
        services=[(port.port, port.name)],
        hosts=[service.id.fqdn],
    )
    return tuple(
        patch
        for one in filters
        if one.namespace in (service.id.namespace, root) and _may_meet(one, service)
        for patch in one.patches
        if patch.context in (Context.ANY, Context.SIDECAR_INBOUND) and _fits(patch, it)
    )


def _may_meet(one: EnvoyFilter, service: Service) -> bool:
    """Whether a pod can have both the filter's labels and the service's."""
    return all(service.selector.get(key, value) == value for key, value in one.labels.items())


def _fits(patch: Patch, it: PatchedPort) -> bool:
    if patch.apply_to in LISTENER_SIDE and patch.apply_to is not ApplyTo.EXTENSION_CONFIG:
        match = patch.listener or _ANY_LISTENER
        # Whose address, and at which number a named port is, a service does not say.
        return it.fits(replace(match, addresses=(), destination_port=match.destination_port if it.port else 0))
    if patch.apply_to in ROUTE_SIDE:
        match_routes = patch.routes or _ANY_ROUTES
        return it.fits_routes(match_routes if it.port else replace(match_routes, name=""), table_name(it.port))
    match_cluster = patch.cluster or _ANY_CLUSTER
    return it.fits_cluster(
        match_cluster if it.port else replace(match_cluster, name=""), patch.operation, table_name(it.port)
    )
