"""Patches of virtual hosts and routes, for one client, and of a route configuration, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidegate.compile.envoy.patches.lists import Failures, change, merged, tried
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.prototypes import message_class
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import ApplyTo, Patch, PatchOperation, RouteAction, RouteMatch

_ANY_MATCH = RouteMatch()
_ORDER = (ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE)
# Fields of a route configuration that mean the same in each of its virtual hosts.
OF_EACH_HOST = frozenset(
    {
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
        "request_mirror_policies",
        "typed_per_filter_config",
    }
)
_ACTIONS = {
    "route": RouteAction.ROUTE,
    "redirect": RouteAction.REDIRECT,
    "direct_response": RouteAction.DIRECT_RESPONSE,
}


@dataclass(frozen=True, slots=True)
class Dialled:
    """What a route configuration is for: name and port of the service that was dialled, as patches may name it.

    hosts: names of a virtual host, by the host that it is for; ports_of: as in listeners.Base.
    """

    name: str
    port: int
    ports_of: Callable[[str], Iterable[int]] = lambda _: ()
    gateways: frozenset[str] = frozenset()  # NAMESPACE/NAME of those whose servers these are; a pod has none

    def fits(self, match: RouteMatch) -> bool:
        """Whether a patch is for this one. Istio calls the configuration of a port by the port."""
        return (
            match.port in (0, self.port)
            and match.name in ("", self.name, str(self.port))
            and (not match.port_name or self.port in set(self.ports_of(match.port_name)))
            and (not match.gateway or match.gateway in self.gateways)
        )


def hosts(
    bodies: Mapping[str, Mapping[str, Any]], patches: Sequence[Patch], table: Dialled, failures: Failures
) -> dict[str, Json]:
    """Virtual hosts of one client, by host, with all patches that can be applied to them.

    Each body has name, domains as an author would know them, and routes. What is there stays a virtual host of its own:
    a client has one per host, so none can be added or removed. A patch of the route configuration, which all pods of
    the node share, is one of each virtual host of the client.
    """
    mine = [patch for patch in in_order(patches) if table.fits(patch.routes or _ANY_MATCH)]
    out: dict[str, Json] = {}
    for host, body in bodies.items():
        message = message_of(MESSAGES[ApplyTo.VIRTUAL_HOST], body)
        for patch in mine:
            with tried(message, patch, failures):
                patch_host(message, patch)
        out[host] = to_json(message)
    return out


def patch_host(host: Any, patch: Patch) -> None:
    """Do to a virtual host what a patch of it, or of its routes, says. Raises Rejected."""
    match = patch.routes or _ANY_MATCH
    if match.host not in ("", host.name) or (match.domain and match.domain not in host.domains):
        return
    if patch.apply_to is ApplyTo.ROUTE_CONFIGURATION:
        told = {key: value for key, value in patch.value.items() if key in OF_EACH_HOST}
        merged(host, patch.operation, message_of(MESSAGES[ApplyTo.VIRTUAL_HOST], told))
        return
    kind = MESSAGES[patch.apply_to]
    value: Any = message_of(kind, patch.value) if patch.value else message_class(kind)()
    if patch.apply_to is ApplyTo.HTTP_ROUTE:
        any_route = not match.route and match.action is RouteAction.ANY
        change(host.routes, patch.operation, value, lambda route: _is_it(route, match), anywhere=any_route)
        return
    if patch.operation in (PatchOperation.ADD, PatchOperation.REMOVE, PatchOperation.REPLACE):
        raise Rejected(
            patch.operation.value,
            "is not possible for a VIRTUAL_HOST of a pod: which there are follows from services and VirtualServices",
        )
    names = host.name, list(host.domains)
    merged(host, patch.operation, value)
    if value.domains or value.name not in ("", names[0]):
        raise Rejected("name and domains", "of a virtual host cannot be changed: by them a pod's requests are found")


def patch_own(message: Any, patch: Patch) -> None:
    """Do to a route configuration that is one pod's alone what a patch of it, its virtual hosts or their routes says.
    Raises Rejected."""
    if patch.apply_to is ApplyTo.ROUTE_CONFIGURATION:
        patch_configuration(message, patch)
        return
    for host in message.virtual_hosts:
        patch_host(host, patch)


def in_order(patches: Sequence[Patch]) -> Iterator[Patch]:
    """From the whole to its parts."""
    return (patch for kind in _ORDER for patch in patches if patch.apply_to is kind)


def without_place(patch: Patch, match: RouteMatch) -> Patch:
    """The same patch for other virtual hosts and routes."""
    return replace(patch, routes=match)


def patch_configuration(message: Any, patch: Patch) -> None:
    """Do to a route configuration what a patch says. Raises Rejected."""
    value: Any = message_of(MESSAGES[ApplyTo.ROUTE_CONFIGURATION], patch.value)
    if value.name not in ("", message.name) or value.virtual_hosts or value.vhost_header:
        raise Rejected("name, virtual_hosts and vhost_header", "cannot be changed: by them requests are found")
    merged(message, patch.operation, value)


def _is_it(route: Any, match: RouteMatch) -> bool:
    if match.route not in ("", route.name):
        return False
    return match.action is RouteAction.ANY or _ACTIONS.get(route.WhichOneof("action")) is match.action
