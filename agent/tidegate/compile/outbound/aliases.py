"""ExternalName services as hosts of VirtualServices.

A resolver follows the alias, so what is dialled is the address of the service behind it. The only thing that still says
which alias was meant is the request's host, in one of the spellings that a resolver completes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.names import ServiceName
from tidegate.model.routing import RouteTarget

Aliases = Mapping[str, tuple[ServiceName, ...]]


def aliases(registry: Registry, rules: Rules) -> Aliases:
    """Full name of a service -> the aliases of it that VirtualServices name, the one of the oldest rule first."""
    found: dict[str, dict[ServiceName, None]] = {}
    for vs in rules.virtual_services:
        for host in vs.hosts:
            alias = None if host.startswith("*") else registry.services.get(host)
            if alias is not None and alias.external_name:
                behind = registry.behind(RouteTarget(host)).host
                found.setdefault(behind, {})[alias.id] = None
    return {fqdn: tuple(names) for fqdn, names in found.items()}


def spellings(alias: ServiceName, namespace: str) -> Iterable[str]:
    """The hosts by which clients of a namespace ask for an alias."""
    if namespace == alias.namespace:
        yield alias.name
    yield f"{alias.name}.{alias.namespace}"
    yield f"{alias.name}.{alias.namespace}.svc"
    yield alias.fqdn
