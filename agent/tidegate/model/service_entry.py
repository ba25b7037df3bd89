"""ServiceEntry after reading, and the services of the registry that it makes: one for each of its hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from tidegate.model.entry import External, Resolution, Workload
from tidegate.model.kube import NO_AGE, Age, Protocol, Service, ServicePort
from tidegate.model.names import ServiceName
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin

_NO_ENDPOINTS = External(Resolution.NONE)


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """Hosts are complete names in lower case and may start with "*"; ranges of addresses that are not wide are written
    out."""

    namespace: str
    name: str
    hosts: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external: External = _NO_ENDPOINTS
    selector: Mapping[str, str] = field(default_factory=dict)  # of pods and WorkloadEntries; empty: endpoints it is
    wants_addresses: bool = False  # and has none written, so that the mesh gives out some
    export_to: tuple[str, ...] = ()  # none: as MeshConfig says
    given: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)  # host -> what the status says, if it does
    age: Age = NO_AGE
    origin: Origin = Origin("ServiceEntry", "", "")

    def wanting(self) -> Iterator[str]:
        """Hosts for which an address has to be found."""
        return (host for host in self.hosts if self.wants_addresses and not self.given.get(host))

    def services(self, found: Mapping[str, IPAddress] | None = None) -> tuple[Service, ...]:
        """The services of its hosts. found: addresses that were given out here, by host."""
        return tuple(
            Service(
                id=ServiceName(self.namespace, host, host),
                ports=self.ports,
                addresses=self.addresses or self.given.get(host) or _one((found or {}).get(host)),
                selector=self.selector,
                external=self.external,
                export_to=self.export_to,
                age=self.age,
                origin=self.origin,
            )
            for host in self.hosts
        )


def _one(address: IPAddress | None) -> tuple[IPAddress, ...]:
    return () if address is None else (address,)


def merged(services: Sequence[Service]) -> Service | None:
    """What the registry has of a host that several ServiceEntries name, the oldest first; None of none.

    The oldest is it. Others of its namespace that find their endpoints in the same way, at the same addresses, lend it
    ports and endpoints that it lacks; whatever else they say of the host is not used.
    """
    if not services:
        return None
    first = services[0]
    others = [s for s in services[1:] if mergeable(first, s)]
    if not others:
        return first
    ports: dict[int, ServicePort] = {}
    endpoints: list[Workload] = []
    for service in (first, *others):
        for port in service.ports:
            ports.setdefault(port.port, port)
        mine = frozenset(port.port for port in service.ports)
        endpoints += [replace(e, only=mine) for e in service.external.endpoints] if service.external else []
    assert first.external is not None
    return replace(first, ports=tuple(ports.values()), external=replace(first.external, endpoints=tuple(endpoints)))


class Speech(Enum):
    """What tells the hosts of a range apart."""

    HTTP = "http"  # each request
    TLS = "tls"  # the name in the first message
    TCP = "tcp"  # nothing

    @classmethod
    def of(cls, port: ServicePort) -> Speech:
        """Of a port."""
        if port.protocol.is_http:
            return cls.HTTP
        return cls.TLS if port.protocol is Protocol.TLS else cls.TCP


def mergeable(first: Service, other: Service) -> bool:
    """Whether a younger service of the same host adds to an older one."""
    a, b = first.external, other.external
    if a is None or b is None or first.id.namespace != other.id.namespace:
        return False
    return (a.resolution, a.in_mesh, a.wide, first.export_to, first.selector, first.addresses) == (
        b.resolution,
        b.in_mesh,
        b.wide,
        other.export_to,
        other.selector,
        other.addresses,
    )
