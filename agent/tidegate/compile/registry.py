"""What compilation looks up in the facts, through `read`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tidegate.compile.derive import Input, Read, derived
from tidegate.compile.facts import Endpoint, target_port
from tidegate.compile.localities import Group, spread
from tidegate.compile.nearness import near
from tidegate.compile.tables import (
    NAMESPACES,
    PODS,
    PODS_BY_ADDRESS,
    PODS_BY_SERVICE,
    RESOLVED,
    SERVICES,
    SERVICES_BY_ADDRESS,
    SLICES_BY_SERVICE,
    WORKLOADS_BY_SERVICE,
)
from tidegate.model.entry import UNIX, Resolution, Workload
from tidegate.model.identity import Identity, identity_of
from tidegate.model.kube import Pod, Service, ServicePort, SliceEndpoint
from tidegate.model.net import IPAddress
from tidegate.model.routing import RouteTarget
from tidegate.model.traffic import TrafficPolicy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Named:
    """An endpoint that somebody else has to find: by a name that is resolved, or at a path."""

    workload: Workload
    port: int  # of no meaning for a path

    @property
    def weight(self) -> int:
        """As of an Endpoint."""
        return self.workload.weight or 1

    @property
    def label(self) -> str:
        """As people read it."""
        path = self.workload.path
        return f"{UNIX}{path}" if path else self.workload.address


class Table(Mapping[K, V]):
    """A table seen through `read`: what is looked up is recorded, key by key; who goes through all of it reads all."""

    def __init__(self, read: Read, source: Input[K, V]) -> None:
        self._read = read
        self._source = source

    def __getitem__(self, key: K) -> V:
        found = self._read(self._source, key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._read.all(self._source))

    def __len__(self) -> int:
        return len(self._read.all(self._source))


class Registry:
    """Pods and services."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.services: Mapping[str, Service] = Table(read, SERVICES)
        self.namespaces = Table(read, NAMESPACES)
        self.pods = Table(read, PODS)

    def behind(self, target: RouteTarget) -> RouteTarget:
        """The target, or what its ExternalName is an alias of, as far as aliases are services of the mesh."""
        seen: set[str] = set()
        host = target.host
        while (service := self.services.get(host)) is not None and service.external_name and host not in seen:
            seen.add(host)
            following = service.external_name.rstrip(".").lower()
            if following not in self.services:
                break
            host = following
        return target if host == target.host else replace(target, host=host)

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """Pods that the service's selector names, ready or not, by name; none without a selector."""
        return self._read(PODS_BY_SERVICE, service.id.fqdn) or ()

    def beside(self, service: Service, port: ServicePort) -> dict[str, tuple[Service, ServicePort]]:
        """Other hosts of ServiceEntries that are asked for over HTTP at an address and port of this one: the address
        does not say which is meant, the request does."""
        found: dict[str, tuple[Service, ServicePort]] = {}
        for address in service.addresses if service.external else ():
            for other in self._read(SERVICES_BY_ADDRESS, address) or ():
                same = other.port(port.port)
                if other.id != service.id and other.external and same and same.protocol.is_http:
                    found[other.id.fqdn] = (other, same)
        return {host: found[host] for host in sorted(found) if not host.startswith("*")}

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Every address of every ready pod behind the port, ordered by pod name; then what is written down. Names are
        here with the addresses that the agent resolved them to. If that is nobody, pods that serve while they end, as
        kube-proxy does."""
        return self._read(_endpoints, (service.id.fqdn, port.port))

    def named(self, service: Service, port: ServicePort) -> tuple[Named, ...]:
        """All endpoints of a port as they are written, if some of them are names or paths; else none, and endpoints()
        says everything."""
        return self._read(_named, (service.id.fqdn, port.port))

    def identities(self, service: Service) -> tuple[Identity, ...]:
        """Who serves behind a service, whether ready or not, as far as that is known."""
        return self._read(_identities, service.id.fqdn)

    def near(self, service: Service, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those of a service's endpoints that clients on this node are sent to."""
        return near(self._read, service, found)

    def spread(
        self, settings: TrafficPolicy, members: tuple[Endpoint, ...], labels: Mapping[str, str]
    ) -> tuple[Group, ...]:
        """Those endpoints in the order in which a policy uses them. labels: of the client, those that decide."""
        return spread(self._read, settings, members, labels)


@derived
def _identities(read: Read, fqdn: str) -> tuple[Identity, ...]:
    service = read(SERVICES, fqdn)
    if service is None:
        return ()
    found = {identity_of(pod) for pod in read(PODS_BY_SERVICE, fqdn) or ()}
    found |= {identity_of(pod) for one in written(read, service) if (pod := _pod(read, one)) is not None}
    external = service.external
    servers = [*(external.endpoints if external else ())]
    servers += [entry.workload for entry in read(WORKLOADS_BY_SERVICE, fqdn) or ()]
    found |= {Identity(service.id.namespace, one.service_account) for one in servers if one.service_account}
    return tuple(sorted(found))


@derived
def _endpoints(read: Read, key: tuple[str, int]) -> tuple[Endpoint, ...]:
    fqdn, number = key
    service = read(SERVICES, fqdn)
    port = service.port(number) if service else None
    if service is None or port is None:
        return ()
    pods = [(pod, target) for pod in read(PODS_BY_SERVICE, fqdn) or () if (target := target_port(port, pod))]
    ready = [pair for pair in pods if pair[0].ready or service.publish_not_ready]
    found = [*_of_pods(ready), *_written_endpoints(read, service, port, bool(ready))]
    found += _workload_endpoints(read, service, port)
    return tuple(found or _of_pods(pair for pair in pods if pair[0].draining))


def _of_pods(pods: Iterable[tuple[Pod, int]]) -> Iterator[Endpoint]:
    for pod, target in pods:
        for address in pod.ips:
            yield Endpoint(pod, address, target, pod.node)


def _workload_endpoints(read: Read, service: Service, port: ServicePort) -> Iterator[Endpoint]:
    """Servers that are no pods. A name has the addresses that it was resolved to; a path has none."""
    for workload, number in workloads(read, service, port):
        pod = None
        for address in addresses_of(read, workload):
            there = read(PODS_BY_ADDRESS, address)
            pod = there[0] if there else None
            yield Endpoint(pod, address, number, pod.node if pod else "", workload.zone, workload)


def addresses_of(read: Read, workload: Workload) -> tuple[IPAddress, ...]:
    """Where a workload is dialled, as far as that is known."""
    ip = workload.ip
    return (ip,) if ip is not None else read(RESOLVED, workload.address) or ()


def workloads(read: Read, service: Service, port: ServicePort) -> Iterator[tuple[Workload, int]]:
    """The workloads behind a port, each with its number there. A service that is found by its own name is one."""
    external = service.external
    if service.as_dialled:
        return
    for workload in external.endpoints if external else ():
        if workload.serves(port.port):
            yield workload, number_at(port, workload)
    for entry in read(WORKLOADS_BY_SERVICE, service.id.fqdn) or ():
        number = number_at(port, entry.workload)
        if number:
            yield entry.workload, number
    by_name = external is not None and external.resolution.by_name
    if external is not None and by_name and not (external.endpoints or service.selector):
        host = service.id.fqdn
        if not host.startswith("*"):
            yield Workload(host), port.target if isinstance(port.target, int) and port.target else port.port


def number_at(port: ServicePort, workload: Workload) -> int:
    """A workload's own number of a port, else the service's target; 0 if that is the name of a container's port."""
    if port.name in workload.ports:
        return workload.ports[port.name]
    if isinstance(port.target, int):
        return port.target or port.port
    return workload.ports.get(port.target, 0)


@derived
def _named(read: Read, key: tuple[str, int]) -> tuple[Named, ...]:
    fqdn, number = key
    service = read(SERVICES, fqdn)
    port = service.port(number) if service else None
    if service is None or port is None or service.external is None:
        return ()
    by_name = service.external.resolution.by_name
    found = [Named(workload, at) for workload, at in workloads(read, service, port)]
    if not by_name and not any(named.workload.path for named in found):
        return ()
    pods = (e for e in read(_endpoints, key) if e.workload is None)
    found += [Named(Workload(str(e.address), labels=e.labels), e.port) for e in pods]
    return tuple(found[:1] if service.external.resolution is Resolution.DNS_ROUND_ROBIN else found)


def _written_endpoints(read: Read, service: Service, port: ServicePort, others: bool) -> Iterator[Endpoint]:
    """Those that are ready; if nobody is, those that serve while they end, as kube-proxy does."""
    those = [(e, number) for e in written(read, service) if (number := e.port(port.name))]
    ready = [(e, number) for e, number in those if e.ready]
    told: set[tuple[IPAddress, int]] = set()  # while a cluster moves one it may stand in two slices
    for endpoint, number in ready or ([] if others else [(e, number) for e, number in those if e.draining]):
        if (endpoint.address, number) not in told:
            told.add((endpoint.address, number))
            pod = _pod(read, endpoint)
            node = endpoint.node or (pod.node if pod else "")
            hinted = endpoint if endpoint.for_zones or endpoint.for_nodes else None
            yield Endpoint(pod, endpoint.address, number, node, endpoint.zone, hinted=hinted)


def _pod(read: Read, endpoint: SliceEndpoint) -> Pod | None:
    named = read(PODS, endpoint.pod) if endpoint.pod else None
    there = read(PODS_BY_ADDRESS, endpoint.address)
    return named or (there[0] if there else None)


def written(read: Read, service: Service) -> Iterator[SliceEndpoint]:
    """The endpoints of a service that somebody wrote down, ready or not. What a cluster derives from a selector is not
    taken from files: we follow the selector ourselves there."""
    for one in read(SLICES_BY_SERVICE, service.id.fqdn) or ():
        if one.speaks_for(service):
            yield from one.endpoints


def endpoints_known(read: Read, service: Service) -> bool:
    """Whether it is known who is behind a service, be it nobody. Of one without a selector only what is written is."""
    if service.external is not None:
        return True
    return bool(service.selector) or read(SLICES_BY_SERVICE, service.id.fqdn) is not None


def routed_to_headless(target: Service, number: int, subset: str, dialled: Service, port: ServicePort) -> bool:
    """Whether a pod of a headless service has to be chosen, because what the client dialled is none of its pods."""
    return target.headless and not subset and (target.id, number) != (dialled.id, port.port)
