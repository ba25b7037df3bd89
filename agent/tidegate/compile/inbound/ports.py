"""Ports of a pod at which somebody is served: by what services say, or its Sidecar. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.compile.derive import Read
from tidegate.compile.facts import target_port
from tidegate.compile.tables import SERVICES, SERVICES_BY_SELECTOR, SLICES_BY_ADDRESS
from tidegate.compile.visibility import sidecar_of
from tidegate.model.kube import Pod, Protocol, Service, ServicePort
from tidegate.model.selectors import pairs, selects
from tidegate.model.sidecar import Ingress
from tidegate.model.traffic import ConnectionPool

NO_POOL = ConnectionPool()


@dataclass(frozen=True, slots=True)
class LedBy:
    """A service port that leads to a port of the pod."""

    fqdn: str
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class ServedPort:
    """number: where the application listens. The oldest service says what is spoken there; nobody: bytes."""

    number: int
    protocol: Protocol = Protocol.TCP
    services: tuple[LedBy, ...] = ()
    ingress: Ingress | None = None  # what a Sidecar says of it
    pool: ConnectionPool = NO_POOL
    mutual: bool = False  # a rule makes its clients begin mutual TLS of the mesh

    @property
    def told(self) -> bool:
        """Whether a Sidecar, or a rule of its clients, asks for something that only a proxy does."""
        return self.mutual or self.pool != NO_POOL or (self.ingress is not None and self.ingress.moves)


def served_ports(read: Read, pod: Pod) -> tuple[ServedPort, ...]:
    """The ports of a pod, by number: those that its Sidecar names, or else those that services lead to and those that
    its containers declare."""
    found = _by_services(read, pod)
    sidecar = sidecar_of(read, pod.id.namespace, pod.labels)
    if sidecar is None or not (sidecar.ingress or sidecar.inbound_pool):
        return found
    usual = sidecar.inbound_pool or NO_POOL
    if not sidecar.ingress:
        return tuple(replace(port, pool=usual) for port in found)
    known = {port.number: port for port in found}
    return tuple(
        ServedPort(it.port, it.protocol, known[it.port].services if it.port in known else (), it, it.pool or usual)
        for it in sorted(sidecar.ingress, key=lambda it: it.port)
    )


def _by_services(read: Read, pod: Pod) -> tuple[ServedPort, ...]:
    found: dict[int, list[tuple[Service, ServicePort]]] = {}
    for service in sorted(_services(read, pod), key=lambda s: (s.age, s.id.namespace, s.id.name)):
        for port in service.tcp_ports:
            if number := target_port(port, pod):
                found.setdefault(number, []).append((service, port))
    for service, port, number in _written(read, pod):
        if not any(s.id == service.id and p.port == port.port for s, p in found.get(number, ())):
            found.setdefault(number, []).append((service, port))
    for declared in pod.ports:
        found.setdefault(declared.port, [])
    return tuple(
        ServedPort(
            number,
            those[0][1].protocol if those else Protocol.TCP,
            tuple(LedBy(s.id.fqdn, p.port, p.name) for s, p in those),
        )
        for number, those in sorted(found.items())
    )


def _services(read: Read, pod: Pod) -> list[Service]:
    """Whose selectors name the pod."""
    found = {
        service.id.fqdn: service
        for pair in pairs(pod.id.namespace, pod.labels)
        for service in read(SERVICES_BY_SELECTOR, pair) or ()
        if selects(service.selector, pod.labels)
    }
    return list(found.values())


def _written(read: Read, pod: Pod) -> list[tuple[Service, ServicePort, int]]:
    """Service ports for which somebody wrote an address of the pod down as an endpoint."""
    out = []
    for address in pod.ips:
        for one in read(SLICES_BY_ADDRESS, address) or ():
            service = read(SERVICES, one.service.fqdn)
            if service is None or not one.speaks_for(service):
                continue
            for endpoint in one.endpoints:
                for port in service.tcp_ports if endpoint.address == address else ():
                    if number := endpoint.port(port.name):
                        out.append((service, port, number))
    return out
