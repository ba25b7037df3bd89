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
        self.services: Mapping[str, Service] = facts.services
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


def service_numbers(names: Iterable[str], known: dict[str, int] | None = None) -> dict[str, int]:
    """A number above 0 for each name. It depends on the name, not on its neighbours, so that adding a service does not
    renumber the others; a collision moves the later name in alphabetical order on by one.

    known: remembers what was computed, from call to call.
    """
    hashes = {} if known is None else known
    wanted = dict.fromkeys(names)
    out: dict[str, int] = {}
    for name in wanted:
        number = hashes.get(name)
        if number is None:
            digest = blake2s(name.encode(), digest_size=4).digest()
            number = hashes[name] = int.from_bytes(digest, "big") % 0x7FFFFFFF + 1
        out[name] = number
    if len(set(out.values())) == len(out):
        return out
    taken: dict[int, str] = {}
    for name in sorted(wanted):
        number = out[name]
        while number in taken:
            number = number % 0x7FFFFFFF + 1
        taken[number] = name
    return {name: number for number, name in taken.items()}
