"""What one compilation looks up in the facts, remembered while it runs; and numbers for the kernel's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2s

from tidegate.compile.facts import Endpoint, Facts
from tidegate.model.kube import Pod, Service, ServicePort
from tidegate.model.net import IPAddress


class Registry:
    """Lookups over the facts of one compilation."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.services: Mapping[str, Service] = {
            s.id.fqdn: s for s in sorted(facts.services.values(), key=lambda s: (s.age, s.id))
        }
        self.namespaces = facts.namespaces
        self.pods = facts.pods
        self._endpoints: dict[tuple[str, int], tuple[Endpoint, ...]] = {}

    def addresses(self, pod: Pod) -> tuple[IPAddress, ...]:
        """The pod's addresses, primary first."""
        return pod.ips

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """Pods that the service's selector names, ready or not, by name; none without a selector."""
        return self._facts.selected(service)

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Every address of every ready pod behind the port, ordered by pod name."""
        key = (service.id.fqdn, port.port)
        if key not in self._endpoints:
            self._endpoints[key] = self._facts.endpoints(service, port)
        return self._endpoints[key]


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
