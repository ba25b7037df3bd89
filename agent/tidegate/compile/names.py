"""Names of the registry, as the node's DNS answers them (Kubernetes' DNS specification 1.1.0; Istio's name table)."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.compile.derive import Read, derived
from tidegate.compile.facts import target_port
from tidegate.compile.registry import written
from tidegate.compile.tables import PODS_BY_SERVICE, SERVICES
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.names import HostNames, NamedPort, Server


@derived
def names_of(read: Read, fqdn: str) -> tuple[HostNames, ...]:
    """The names of a service; none if the pod's own resolver knows better: an alias, or nobody is there to name."""
    service = read(SERVICES, fqdn)
    if service is None or service.external_name:
        return ()
    if service.addresses:
        return (HostNames(fqdn, service.addresses, (), tuple(_ports(service))),)
    servers = tuple(_servers(read, service)) if service.headless else ()
    return (HostNames(fqdn, (), servers),) if servers else ()


def _ports(service: Service) -> Iterator[NamedPort]:
    for port in service.ports:
        if port.name:
            yield NamedPort(port.name, _protocol(port), port.port)


def _servers(read: Read, service: Service) -> Iterator[Server]:
    """Ready servers, those with a name of their own under it; several of one name are one server."""
    found: dict[str, tuple[list[IPAddress], dict[NamedPort, None]]] = {}
    for label, addresses, ports in (*_selected(read, service), *_written(read, service)):
        known, named = found.setdefault(label, ([], {}))
        known += [ip for ip in addresses if ip not in known]
        named.update(dict.fromkeys(ports))
    for label, (all_of_it, named) in found.items():
        yield Server(label, tuple(all_of_it), tuple(named))


_Found = tuple[str, tuple[IPAddress, ...], tuple[NamedPort, ...]]


def _selected(read: Read, service: Service) -> Iterator[_Found]:
    for pod in read(PODS_BY_SERVICE, service.id.fqdn) or ():
        if pod.ips and (pod.ready or service.publish_not_ready):
            ports = tuple(
                NamedPort(port.name, _protocol(port), number)
                for port in service.ports
                if port.name and (number := target_port(port, pod))
            )
            own = pod.hostname if pod.subdomain == service.id.name else ""
            yield from _named(own, pod.ips, ports)


def _written(read: Read, service: Service) -> Iterator[_Found]:
    for endpoint in written(read, service):
        if endpoint.ready or service.publish_not_ready:
            ports = tuple(
                NamedPort(port.name, _protocol(port), number)
                for port in service.ports
                if port.name and (number := endpoint.port(port.name))
            )
            yield from _named(endpoint.hostname, (endpoint.address,), ports)


def _named(own: str, addresses: tuple[IPAddress, ...], ports: tuple[NamedPort, ...]) -> Iterator[_Found]:
    """By its own name, or each address by itself."""
    if own:
        yield own.lower(), addresses, ports
        return
    for address in addresses:
        yield str(address).replace(".", "-").replace(":", "-"), (address,), ports


def _protocol(port: ServicePort) -> str:
    return "udp" if port.protocol is Protocol.UDP else "tcp"
