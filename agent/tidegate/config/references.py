"""What only shows when documents are seen together: names that lead nowhere. Always warnings, because the other
document may arrive later."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model.hosts import host_matches
from tidegate.model.mesh import Mesh, Problem, Severity
from tidegate.model.names import CLUSTER_DOMAIN
from tidegate.model.routing import MESH, RouteTarget, VirtualService

_CLUSTER_SUFFIX = f".svc.{CLUSTER_DOMAIN}"


def check_references(config: Mesh) -> Iterator[Problem]:
    """Findings about names in VirtualServices."""
    services = {s.id.fqdn: s for s in config.services}
    subsets: set[tuple[str, str]] = {(r.host, s.name) for r in config.destination_rules for s in r.subsets}
    wildcards = [r for r in config.destination_rules if r.host.startswith("*")]

    def target_problem(target: RouteTarget) -> str:
        service = services.get(target.host)
        if service is None:
            if target.host.endswith(_CLUSTER_SUFFIX) and services:
                return f"service {target.host} does not exist: requests get 503"
            return ""
        if target.port and service.port(target.port) is None:
            return f"service {target.host} has no TCP port {target.port}: requests get 503"
        by_wildcard = (r for r in wildcards if host_matches(r.host, target.host) and r.subset(target.subset))
        if target.subset and (target.host, target.subset) not in subsets and not any(by_wildcard):
            return f'no DestinationRule defines subset "{target.subset}" of {target.host}: requests get 503'
        return ""

    for vs in config.virtual_services:
        for index, route in enumerate(vs.http):
            for i, weighted in enumerate(route.targets):
                if text := target_problem(weighted.target):
                    yield _warning(vs, weighted.target.line, f"spec.http[{index}].route[{i}].destination", text)
            for mirror in route.mirrors:
                if text := target_problem(mirror.target):
                    yield _warning(vs, mirror.target.line, f"spec.http[{index}].mirror", text)
    yield from _shared_hosts(config)


def _shared_hosts(config: Mesh) -> Iterator[Problem]:
    owners: dict[str, VirtualService] = {}
    for vs in sorted(config.virtual_services, key=lambda v: (v.age, v.namespace, v.name)):
        if MESH not in vs.gateways:
            continue
        for host in vs.hosts:
            first = owners.setdefault(host, vs)
            if first is not vs and first.export_to == vs.export_to:
                text = f"host {host} belongs to the older {first.origin}: the routes here are not used for it"
                yield _warning(vs, vs.origin.line, "spec.hosts", text)


def _warning(vs: VirtualService, line: int, path: str, text: str) -> Problem:
    file = vs.origin.file
    return Problem(file, line, Severity.WARNING.value, "VirtualService", vs.namespace, vs.name, path, text)
