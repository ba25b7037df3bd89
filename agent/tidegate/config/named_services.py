"""Services by name, for those who check references: Kubernetes' and hosts of ServiceEntries alike."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.config.links import Links
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Service, ServicePort
from tidegate.model.mesh import MeshObject
from tidegate.model.net import IPAddress
from tidegate.model.service_entry import ServiceEntry, Speech


def services_of(links: Links, host: str) -> Iterator[Service]:
    """Those of exactly this name, as the registry would take them: Kubernetes' before others."""
    found = [s for value in links.of("service", host) for s in _services(value, host)]
    yield from sorted(found, key=lambda s: s.precedence)


def services_under(links: Links, pattern: str) -> Iterator[Service]:
    """Those whose name fits a pattern, which may be a plain name."""
    for value in links.under("service", pattern):
        yield from _services(value, pattern)


def dialled_first(links: Links, address: IPAddress, port: ServicePort, mine: Service) -> Service | None:
    """Who has an address and port of a service instead of it; None if nobody has. Hosts of ServiceEntries share theirs
    where something in a connection tells them apart."""
    found = [s for value in links.of("address", str(address)) for s in _services(value, "*") if s.port(port.port)]
    first = min(found, key=lambda s: s.precedence, default=mine)
    if first.id.fqdn == mine.id.fqdn or first.origin == mine.origin:
        return None  # ours, or one that has our name, too, which is told elsewhere
    theirs = first.port(port.port)
    speech = Speech.of(port)
    shared = first.external and mine.external and theirs and Speech.of(theirs) is speech is not Speech.TCP
    return None if shared else first


def _services(value: MeshObject, pattern: str) -> Iterator[Service]:
    if isinstance(value, Service):
        yield value
    elif isinstance(value, ServiceEntry):
        yield from (s for s in value.services() if host_matches(pattern, s.id.fqdn))
