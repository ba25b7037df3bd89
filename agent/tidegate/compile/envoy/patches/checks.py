"""Each patch on a resource of its own that serves nobody, so that Envoy can say what is wrong with it alone.

What Envoy refuses is refused as a whole, a listener with all patches in it; so a patch that stands alone shows which
one it was, and the agent leaves that one out. Listeners are bound to nothing, clusters have no endpoints, and no scope
leads to the routes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate.compile.envoy.patches import clusters, listeners, routes
from tidegate.compile.envoy.patches.selection import of_connections
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import LISTENER_SIDE, ApplyTo, Context, Patch, PatchOperation, RouteMatch
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef

HOLDER = "check|patches of clusters"  # the listener that leads to the clusters of checks
_ROUTE: Json = {"name": "any", "match": {"prefix": "/"}, "direct_response": {"status": 404}}
_LEADS: Json = {"name": "any", "match": {"prefix": "/"}, "route": {"cluster": "BlackHoleCluster"}}


@dataclass(frozen=True, slots=True)
class ShownAlone:
    """What a client is shown, by kind."""

    listeners: dict[str, EnvoyResource] = field(default_factory=dict)
    clusters: dict[str, EnvoyResource] = field(default_factory=dict)
    routes: dict[str, EnvoyResource] = field(default_factory=dict)


def check_name(patch: Patch) -> str:
    """Name of the resource that shows a patch."""
    return f"check|{patch.title}"


def checks(
    patches: Sequence[Patch],
    listener: Mapping[str, Any],
    base: listeners.Base,
    inbound: tuple[Mapping[str, Any], listeners.Base],
) -> ShownAlone:
    """The resources of all patches. listener: what a patch of listeners is tried on; inbound: the same for patches of
    what comes to pods, and for others that mean connections without HTTP, of which that listener has a chain, too."""
    out = ShownAlone()
    extensions = [p for p in patches if p.apply_to is ApplyTo.EXTENSION_CONFIG]
    plain = nowhere(listener, HOLDER, 0)
    for patch in patches:
        name = check_name(patch)
        both = patch.context is Context.SIDECAR_INBOUND or of_connections(patch)
        shown, made_like = inbound if both else (listener, base)
        if patch in extensions:
            continue  # it is nothing without the filter that names it, which is tried with it
        try:
            if patch.apply_to in LISTENER_SIDE:
                body = nowhere(listeners.forced(shown, patch, extensions, made_like), name, len(out.listeners) + 1)
                out.listeners[name] = EnvoyResource(name, body, (patch.origin,), judged=patch)
            elif patch.apply_to is ApplyTo.CLUSTER:
                out.clusters[name] = EnvoyResource(name, cluster_alone(name, patch), (patch.origin,), judged=patch)
            else:
                out.routes[name] = EnvoyResource(name, routes_alone(name, patch), (patch.origin,), judged=patch)
        except Rejected as error:
            out.listeners[name] = EnvoyResource(name, {"name": name}, (patch.origin,), judged=patch, wrong=str(error))
    if out.clusters:
        refs = frozenset(ResourceRef(CLUSTERS, name) for name in out.clusters)
        out.listeners[HOLDER] = EnvoyResource(HOLDER, plain, (), refs, judged=HOLDER)
    return out


def nowhere(listener: Mapping[str, Any], name: str, number: int) -> Json:
    """A listener that is bound to nothing. number: makes its address one of its own."""
    address = {"socket_address": {"address": f"127.77.{number >> 8 & 255}.{number & 255}", "port_value": 9}}
    body = {key: value for key, value in listener.items() if key not in ("additional_addresses", "freebind")}
    return {**body, "name": name, "stat_prefix": "check", "address": address, "bind_to_port": False}


def cluster_alone(name: str, patch: Patch) -> Json:
    if patch.operation is PatchOperation.ADD:
        body = {**patch.value, "name": name}
        message: Any = message_of(MESSAGES[ApplyTo.CLUSTER], body)
        if not patch.value.get("name"):
            raise Rejected("cluster", "that is added needs a name")
        return to_json(message)
    if patch.operation not in clusters.CHANGES:
        raise Rejected(
            patch.operation.value, "is not possible for a CLUSTER", "write MERGE, or ADD for another cluster"
        )
    made: Any = message_of(MESSAGES[ApplyTo.CLUSTER], {"name": name, "type": "STATIC", "connect_timeout": "10s"})
    clusters.change(made, patch)
    return to_json(made)


def routes_alone(name: str, patch: Patch) -> Json:
    """Every route of it is tried on one that forwards and on one that answers."""
    host = {"name": "any", "domains": ["*"], "routes": [_LEADS, _ROUTE]}
    body = {"name": name, "virtual_hosts": [host], "validate_clusters": False}
    message: Any = message_of(MESSAGES[ApplyTo.ROUTE_CONFIGURATION], body)
    if patch.apply_to is ApplyTo.ROUTE_CONFIGURATION:
        routes.patch_configuration(message, patch)
    else:
        match = patch.routes or RouteMatch()
        everywhere = routes.without_place(patch, RouteMatch(action=match.action))
        routes.patch_host(message.virtual_hosts[0], everywhere)
    return to_json(message)
