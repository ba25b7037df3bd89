"""What compilation looks up in the facts, through `read`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from tidegate.compile.derive import Input, Read, derived
from tidegate.compile.facts import Endpoint, target_port
from tidegate.compile.localities import Group, spread
from tidegate.compile.nearness import near
from tidegate.compile.tables import NAMESPACES, PODS, PODS_BY_ADDRESS, PODS_BY_SERVICE, SERVICES, SLICES_BY_SERVICE
from tidegate.model.kube import Pod, Service, ServicePort, SliceEndpoint
from tidegate.model.routing import RouteTarget
from tidegate.model.traffic import TrafficPolicy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Every address of every ready pod behind the port, ordered by pod name; then what is written down."""
        return self._read(_endpoints, (service.id.fqdn, port.port))

    def near(self, service: Service, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those of a service's endpoints that clients on this node are sent to."""
        return near(self._read, service, found)

    def spread(
        self, settings: TrafficPolicy, members: tuple[Endpoint, ...], labels: Mapping[str, str]
    ) -> tuple[Group, ...]:
        """Those endpoints in the order in which a policy uses them. labels: of the client, those that decide."""
        return spread(self._read, settings, members, labels)


@derived
def _endpoints(read: Read, key: tuple[str, int]) -> tuple[Endpoint, ...]:
    fqdn, number = key
    service = read(SERVICES, fqdn)
    port = service.port(number) if service else None
    if service is None or port is None:
        return ()
    found = [
        Endpoint(pod, address, target, pod.node)
        for pod in read(PODS_BY_SERVICE, fqdn) or ()
        if (pod.ready or service.publish_not_ready) and (target := target_port(port, pod))
        for address in pod.ips
    ]
    return (*found, *_written_endpoints(read, service, port, bool(found)))


def _written_endpoints(read: Read, service: Service, port: ServicePort, others: bool) -> Iterator[Endpoint]:
    """Those that are ready; if nobody is, those that serve while they end, as kube-proxy does."""
    those = [(e, number) for e in written(read, service) if (number := e.port(port.name))]
    ready = [(e, number) for e, number in those if e.ready]
    for endpoint, number in ready or ([] if others else [(e, number) for e, number in those if e.draining]):
        pod = _pod(read, endpoint)
        yield Endpoint(pod, endpoint.address, number, endpoint.node or (pod.node if pod else ""), endpoint.zone)


def _pod(read: Read, endpoint: SliceEndpoint) -> Pod | None:
    named = read(PODS, endpoint.pod) if endpoint.pod else None
    there = read(PODS_BY_ADDRESS, endpoint.address)
    return named or (there[0] if there else None)


def written(read: Read, service: Service) -> Iterator[SliceEndpoint]:
    """The endpoints of a service that somebody wrote down, ready or not. What a cluster derives from a selector is not
    taken from there: we follow the selector ourselves."""
    for one in read(SLICES_BY_SERVICE, service.id.fqdn) or ():
        if not (one.of_selector and service.selector):
            yield from one.endpoints


def endpoints_known(read: Read, service: Service) -> bool:
    """Whether it is known who is behind a service, be it nobody. Of one without a selector only what is written is."""
    return bool(service.selector) or read(SLICES_BY_SERVICE, service.id.fqdn) is not None
