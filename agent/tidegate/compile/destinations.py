"""Who serves which (address, port): rows of the kernel's table and services of the fast path.

An (address, port) belongs to one service only; of several that claim it the oldest wins, for kernel rows, fast path
and Envoy's filter chains alike, which is why all three are made from the claims found here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.compile.registry import Registry, service_numbers
from tidegate.compile.rules import Rules
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import Destination
from tidegate.model.plan.relay import L4Endpoint, L4Service, LoadBalancing
from tidegate.model.tier import Tier
from tidegate.model.traffic import Balancing

_BALANCING = {
    Balancing.ROUND_ROBIN: LoadBalancing.ROUND_ROBIN,
    Balancing.RANDOM: LoadBalancing.RANDOM,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A service port and the addresses at which it is dialled; port is the dialled one."""

    service: Service
    port: ServicePort
    addresses: tuple[IPAddress, ...]
    tier: Tier

    @property
    def name(self) -> str:
        return f"{self.service.id.fqdn}:{self.port.port}"


@dataclass(frozen=True, slots=True)
class Destinations:
    claims: tuple[Claim, ...]
    rows: tuple[Destination, ...]
    l4: tuple[L4Service, ...]
    numbers: dict[int, str]  # number -> FQDN:port


def find_destinations(registry: Registry, rules: Rules) -> Destinations:
    """Everything that a connection of an enrolled pod can be caught for."""
    claims = tuple(_claims(registry))
    numbers = service_numbers(name for c in claims for name in (c.name, _second_family(c.name)))
    rows: list[Destination] = []
    l4: list[L4Service] = []
    used: dict[int, str] = {}
    for claim in claims:
        if claim.tier is Tier.ENVOY:
            number = numbers[claim.name]
            used[number] = claim.name
            rows.extend(Destination(a, claim.port.port, Tier.ENVOY, number) for a in claim.addresses)
            continue
        for service in _fast_path(claim, numbers, registry, rules):
            used[service.number] = claim.name
            l4.append(service)
            rows.extend(Destination(a, p, Tier.FASTPATH, service.number) for a, p in service.addresses)
    for pod in registry.pods.values():
        if not pod.host_network:
            rows.extend(Destination(a, 0, Tier.DIRECT, 0) for a in registry.addresses(pod))
    unique = {(r.address, r.port): r for r in reversed(rows)}
    ordered = sorted(unique.values(), key=lambda r: (r.address.version, r.address, r.port))
    return Destinations(claims, tuple(ordered), tuple(sorted(l4, key=lambda s: s.number)), used)


def serving_tier(service: Service, port: ServicePort) -> Tier:
    """HTTP goes to Envoy whether or not a rule concerns it today: only an HTTP proxy can hand a kept-alive connection
    over to new rules between two requests. Pod addresses of a headless service stay alone otherwise."""
    if port.protocol.is_http:
        return Tier.ENVOY
    return Tier.DIRECT if service.headless else Tier.FASTPATH


def _claims(registry: Registry) -> Iterator[Claim]:
    taken: set[tuple[IPAddress, int]] = set()
    for service in registry.services.values():
        for port in service.tcp_ports:
            tier = serving_tier(service, port)
            if tier is Tier.DIRECT:
                continue
            wanted = _dialled(registry, service)
            free = tuple(a for a in dict.fromkeys(wanted) if (a, port.port) not in taken)
            taken.update((a, port.port) for a in free)
            if free:
                yield Claim(service, port, free, tier)


def _dialled(registry: Registry, service: Service) -> tuple[IPAddress, ...]:
    """Virtual addresses, or for a headless service the addresses that its name resolves to."""
    if not service.headless:
        return service.addresses
    return tuple(a for p in registry.selected(service) for a in registry.addresses(p))


def _fast_path(claim: Claim, numbers: dict[str, int], registry: Registry, rules: Rules) -> Iterator[L4Service]:
    """One service per address family, because an endpoint must be reachable in the family that was dialled."""
    service, port = claim.service, claim.port
    balancer = rules.policy(service.id, service.id.namespace).for_port(port.port).load_balancer
    balancing = _BALANCING.get(balancer.balancing, LoadBalancing.LEAST_REQUEST) if balancer else None
    first = claim.addresses[0].version
    for version in dict.fromkeys(a.version for a in claim.addresses):
        name = claim.name if version == first else _second_family(claim.name)
        endpoints = {(e.address, e.port) for e in registry.endpoints(service, port) if e.address.version == version}
        yield L4Service(
            number=numbers[name],
            name=claim.name,
            addresses=tuple((a, port.port) for a in claim.addresses if a.version == version),
            balancing=LoadBalancing.LEAST_REQUEST if balancing is None else balancing,
            endpoints=tuple(L4Endpoint(a, p) for a, p in sorted(endpoints, key=lambda e: (int(e[0]), e[1]))),
        )


def _second_family(name: str) -> str:
    return name + "/2"
