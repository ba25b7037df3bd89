"""What only shows when objects are seen together: names that lead nowhere. Always warnings, because the other object
may arrive later.

Topics ("service", full name), ("subsets", host of a DestinationRule) and ("host", host of a VirtualService) say who has
to be checked again when something changes (links).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.config.documents import MeshObject
from tidegate.config.links import Links, Topic
from tidegate.model.kube import Service
from tidegate.model.mesh import Problem, Severity
from tidegate.model.names import CLUSTER_DOMAIN
from tidegate.model.routing import MESH, RouteTarget, VirtualService
from tidegate.model.traffic import DestinationRule

_CLUSTER_SUFFIX = f".svc.{CLUSTER_DOMAIN}"


def provides(value: MeshObject) -> Iterable[Topic]:
    """What others may look for."""
    match value:
        case Service():
            return [("service", value.id.fqdn)]
        case DestinationRule():
            return [("subsets", value.host)]
        case VirtualService() if MESH in value.gateways:
            return [("host", host) for host in value.hosts]
    return ()


def looks_at(value: MeshObject) -> Iterable[Topic]:
    """What decides about the findings of check()."""
    if not isinstance(value, VirtualService):
        return ()
    hosts = {target.host for target, _ in _targets(value)}
    return [*(("service", h) for h in hosts), *(("subsets", h) for h in hosts), *provides(value)]


def check(value: MeshObject, links: Links) -> Iterator[Problem]:
    """Findings about names in a VirtualService."""
    if not isinstance(value, VirtualService):
        return
    for target, path in _targets(value):
        if text := _target_problem(target, links):
            yield _warning(value, target.line, path, text)
    yield from _shared_hosts(value, links)


def _targets(vs: VirtualService) -> Iterator[tuple[RouteTarget, str]]:
    for index, route in enumerate(vs.http):
        for i, weighted in enumerate(route.targets):
            yield weighted.target, f"spec.http[{index}].route[{i}].destination"
        for mirror in route.mirrors:
            yield mirror.target, f"spec.http[{index}].mirror"


def _target_problem(target: RouteTarget, links: Links) -> str:
    service = next((s for s in links.of("service", target.host) if isinstance(s, Service)), None)
    if service is None:
        if target.host.endswith(_CLUSTER_SUFFIX) and links.any("service"):
            return f"service {target.host} does not exist: requests get 503"
        return ""
    if target.port and service.port(target.port) is None:
        return f"service {target.host} has no TCP port {target.port}: requests get 503"
    rules = (r for r in links.covering("subsets", target.host) if isinstance(r, DestinationRule))
    if target.subset and not any(rule.subset(target.subset) for rule in rules):
        return f'no DestinationRule defines subset "{target.subset}" of {target.host}: requests get 503'
    return ""


def _shared_hosts(vs: VirtualService, links: Links) -> Iterator[Problem]:
    if MESH not in vs.gateways:
        return
    for host in vs.hosts:
        others = [other for other in links.of("host", host) if isinstance(other, VirtualService)]
        first = min(others, key=lambda other: (other.age, other.namespace, other.name))
        if first is not vs and first.export_to == vs.export_to:
            text = f"host {host} belongs to the older {first.origin}: the routes here are not used for it"
            yield _warning(vs, vs.origin.line, "spec.hosts", text)


def _warning(vs: VirtualService, line: int, path: str, text: str) -> Problem:
    file = vs.origin.file
    return Problem(file, line, Severity.WARNING.value, "VirtualService", vs.namespace, vs.name, path, text)
