"""Indexes over a Mesh: services by name and address, endpoints by selector, numbers for the kernel's tables.

Built once per compilation; pure, and independent of the order in which the config lists things.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2s

from tidegate.compile.enrolment import enrolment
from tidegate.model.kube import Namespace, Pod, Service, ServicePort
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.workload import Sandbox


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one ready pod behind a service port."""

    pod: Pod
    address: IPAddress
    port: int


class Registry:
    """Lookups over one config. sandboxes lend their addresses to pods whose status does not say any yet."""

    def __init__(self, config: Mesh, sandboxes: Iterable[Sandbox] = ()) -> None:
        local = {s.id: s.ips for s in sandboxes}
        self.services: Mapping[str, Service] = {
            s.id.fqdn: s for s in sorted(config.services, key=lambda s: (s.age, s.id))
        }
        self.namespaces: Mapping[str, Namespace] = {n.name: n for n in config.namespaces}
        self.pods: Mapping[WorkloadId, Pod] = {p.id: p for p in sorted(config.pods, key=lambda p: p.id)}
        self._local = local
        self._by_label: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        for pod in self.pods.values():
            for key, value in pod.labels.items():
                self._by_label[(pod.id.namespace, key, value)].append(pod)
        self._selected: dict[str, tuple[Pod, ...]] = {}
        self._endpoints: dict[tuple[str, int], tuple[Endpoint, ...]] = {}

    def enrolment(self, pod: WorkloadId) -> tuple[bool, str]:
        """Whether the pod is in the mesh, and why (not)."""
        return enrolment(self.pods.get(pod), self.namespaces.get(pod.namespace))

    def addresses(self, pod: Pod) -> tuple[IPAddress, ...]:
        """The pod's addresses, primary first."""
        return pod.ips or self._local.get(pod.id, ())

    def ready(self, pod: Pod) -> bool:
        """Without Kubernetes nobody writes a status: then a container that runs here is ready."""
        return pod.ready or (not pod.has_status and pod.id in self._local)

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """Pods that the service's selector names, ready or not, by name; none without a selector."""
        fqdn = service.id.fqdn
        if fqdn not in self._selected:
            self._selected[fqdn] = self._select(service)
        return self._selected[fqdn]

    def _select(self, service: Service) -> tuple[Pod, ...]:
        if not service.selector:
            return ()
        wanted = service.selector.items()
        smallest = min((self._by_label.get((service.id.namespace, k, v), []) for k, v in wanted), key=len)
        return tuple(p for p in smallest if wanted <= p.labels.items())

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Every address of every ready pod behind the port, ordered by pod name."""
        key = (service.id.fqdn, port.port)
        if key not in self._endpoints:
            found: list[Endpoint] = []
            for pod in self.selected(service):
                number = target_port(port, pod)
                if number and (self.ready(pod) or service.publish_not_ready):
                    found.extend(Endpoint(pod, address, number) for address in self.addresses(pod))
            self._endpoints[key] = tuple(found)
        return self._endpoints[key]


def target_port(port: ServicePort, pod: Pod) -> int:
    """The number of the container port that a service port leads to; 0 if the pod has no port of that name."""
    if isinstance(port.target, int):
        return port.target or port.port
    return next((p.port for p in pod.ports if p.name == port.target), 0)


def service_numbers(names: Iterable[str]) -> dict[str, int]:
    """A number above 0 for each name. It depends on the name, not on its neighbours, so that adding a service does not
    renumber the others; a collision moves the later name in alphabetical order on by one."""
    taken: dict[int, str] = {}
    for name in sorted(set(names)):
        number = int.from_bytes(blake2s(name.encode(), digest_size=4).digest(), "big") % 0x7FFFFFFF + 1
        while number in taken:
            number = number % 0x7FFFFFFF + 1
        taken[number] = name
    return {name: number for number, name in taken.items()}
