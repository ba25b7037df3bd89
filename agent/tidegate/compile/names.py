"""Names of the registry, as the node's DNS answers them (Kubernetes' DNS specification 1.1.0; Istio's name table)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate.compile.derive import Read, derived
from tidegate.compile.facts import target_port
from tidegate.compile.registry import addresses_of, number_at, written
from tidegate.compile.tables import CLIENTS, PODS_BY_SERVICE, SERVICES, SIDECARS, WORKLOADS_BY_SERVICE
from tidegate.compile.visibility import Source, mesh_config, sees_service, source_of
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.names import EVERYBODY, HostNames, NamedPort, NamedServer


@derived
def names_of(read: Read, fqdn: str) -> tuple[HostNames, ...]:
    """The names of a service; none if the pod's own resolver knows better: an alias, or nobody is there to name."""
    service = read(SERVICES, fqdn)
    if service is None or service.external_name:
        return ()
    visible = _visible(read, service)
    if visible is None:
        return ()
    if addresses := _named_addresses(service):
        return (HostNames(fqdn, addresses, (), tuple(_ports(service)), visible),)
    servers = read(servers_of, fqdn)
    return (HostNames(fqdn, (), servers, visible=visible),) if servers else ()


def _visible(read: Read, service: Service) -> frozenset[str] | None:
    """Who of this node's pods may know a service; None: nobody."""
    shown_to = service.export_to or mesh_config(read).services_to
    if shown_to == ("*",) and not read.all(SIDECARS):
        return EVERYBODY
    views = read(_views, "")
    ports = [port.port for port in service.tcp_ports] or [0]
    seen = frozenset(
        name for name, source in views.items() if any(sees_service(read, source, service, port) for port in ports)
    )
    if len(seen) == len(views):
        return EVERYBODY
    return seen or None


@derived
def _views(read: Read, _: str) -> Mapping[str, Source]:
    """One of those that see the same, by Source.name."""
    sources = (source_of(read, pod) for pod in read.all(CLIENTS).values())
    return {source.name: Source(source.namespace, {}, source.sidecar) for source in sources}


def _named_addresses(service: Service) -> tuple[IPAddress, ...]:
    """Addresses that a name may resolve to. A range is no address of a name, as upstream has it."""
    ranges = service.external.ranges if service.external else ()
    return tuple(a for a in service.addresses if not any(a.version == r.version and a in r for r in ranges))


def _ports(service: Service) -> Iterator[NamedPort]:
    for port in service.ports:
        if port.name:
            yield NamedPort(port.name, _protocol(port), port.port)


@derived
def servers_of(read: Read, fqdn: str) -> tuple[NamedServer, ...]:
    """Ready servers of a headless service, by their own names or their addresses with dashes; several of one name are
    one server. None of any other service."""
    service = read(SERVICES, fqdn)
    if service is None or not service.headless:
        return ()
    found: dict[str, tuple[list[IPAddress], dict[NamedPort, None]]] = {}
    for label, addresses, ports in (*_selected(read, service), *_written(read, service), *_machines(read, service)):
        known, named = found.setdefault(label, ([], {}))
        known += [ip for ip in addresses if ip not in known]
        named.update(dict.fromkeys(ports))
    return tuple(NamedServer(label, tuple(all_of_it), tuple(named)) for label, (all_of_it, named) in found.items())


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


def _machines(read: Read, service: Service) -> Iterator[_Found]:
    """WorkloadEntries that its selector finds."""
    for entry in read(WORKLOADS_BY_SERVICE, service.id.fqdn) or ():
        ports = tuple(
            NamedPort(port.name, _protocol(port), number)
            for port in service.ports
            if port.name and (number := number_at(port, entry.workload))
        )
        yield from _named("", addresses_of(read, entry.workload), ports)


def _named(own: str, addresses: tuple[IPAddress, ...], ports: tuple[NamedPort, ...]) -> Iterator[_Found]:
    """By its own name, or each address by itself."""
    if own:
        yield own.lower(), addresses, ports
        return
    for address in addresses:
        yield str(address).replace(".", "-").replace(":", "-"), (address,), ports


def _protocol(port: ServicePort) -> str:
    return "udp" if port.protocol is Protocol.UDP else "tcp"
