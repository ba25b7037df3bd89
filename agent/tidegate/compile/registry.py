"""What compilation looks up in the facts, through `read`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

from tidegate.compile.derive import Input, Read, derived
from tidegate.compile.facts import Endpoint, target_port
from tidegate.compile.nearness import near
from tidegate.compile.tables import NAMESPACES, PODS, PODS_BY_SERVICE, SERVICES
from tidegate.model.kube import Pod, Service, ServicePort

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

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """Pods that the service's selector names, ready or not, by name; none without a selector."""
        return self._read(PODS_BY_SERVICE, service.id.fqdn) or ()

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Every address of every ready pod behind the port, ordered by pod name."""
        return self._read(_endpoints, (service.id.fqdn, port.port))

    def near(self, service: Service, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those of a service's endpoints that clients on this node are sent to."""
        return near(self._read, service, found)


@derived
def _endpoints(read: Read, key: tuple[str, int]) -> tuple[Endpoint, ...]:
    fqdn, number = key
    service = read(SERVICES, fqdn)
    port = service.port(number) if service else None
    if service is None or port is None:
        return ()
    return tuple(
        Endpoint(pod, address, target)
        for pod in read(PODS_BY_SERVICE, fqdn) or ()
        if (pod.ready or service.publish_not_ready) and (target := target_port(port, pod))
        for address in pod.ips
    )
