"""Services by name, for those who check references: Kubernetes' and hosts of ServiceEntries alike."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.config.links import Links
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Service
from tidegate.model.mesh import MeshObject
from tidegate.model.service_entry import ServiceEntry


def services_of(links: Links, host: str) -> Iterator[Service]:
    """Those of exactly this name, as the registry would take them: Kubernetes' before others."""
    found = [s for value in links.of("service", host) for s in _services(value, host)]
    yield from sorted(found, key=lambda s: (s.external is not None, s.age, s.id))


def services_under(links: Links, pattern: str) -> Iterator[Service]:
    """Those whose name fits a pattern, which may be a plain name."""
    for value in links.under("service", pattern):
        yield from _services(value, pattern)


def _services(value: MeshObject, pattern: str) -> Iterator[Service]:
    if isinstance(value, Service):
        yield value
    elif isinstance(value, ServiceEntry):
        yield from (s for s in value.services() if host_matches(pattern, s.id.fqdn))
