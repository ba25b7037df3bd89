"""Who serves which (address, port): rows of the kernel's table and services of the fast path.

An (address, port) belongs to one service only; of several that claim it the oldest wins, for kernel rows, fast path
and Envoy's scopes alike, which is why all three are made from the claims found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import is_, itemgetter
from typing import TypeVar

from tidegate.compile.l4.services import l4_services, second_family
from tidegate.compile.registry import Registry, service_numbers
from tidegate.compile.rules import DestinationPolicy, Rules
from tidegate.model.kube import Pod, Service, ServicePort
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import Destination
from tidegate.model.plan.relay import L4Service
from tidegate.model.tier import Tier

T = TypeVar("T")
_Address = tuple[IPAddress, int]
_Order = tuple[int, int, int]  # IP version, address, port


@dataclass(frozen=True, slots=True)
class Claim:
    """A service port and the addresses at which it is dialled; port is the dialled one."""

    service: Service
    port: ServicePort
    addresses: tuple[IPAddress, ...]
    tier: Tier
    name: str  # FQDN:port


@dataclass(frozen=True, slots=True)
class Destinations:
    claims: tuple[Claim, ...]
    rows: tuple[Destination, ...]
    l4: tuple[L4Service, ...]
    numbers: Mapping[int, str]  # number -> FQDN:port


@dataclass(frozen=True, slots=True)
class _Served:
    """What a claim puts into the tables, and what it was made of."""

    claim: Claim
    numbers: tuple[int, int]  # of the name, and of the second address family
    members: tuple[Pod, ...]
    policy: DestinationPolicy | None
    rows: tuple[tuple[_Order, Destination], ...]
    l4: tuple[L4Service, ...]


def find_destinations(registry: Registry, rules: Rules) -> Destinations:
    """Everything that a connection of an enrolled pod can be caught for."""
    return Finder().find(registry, rules)


class Finder:
    """Finds destinations, and gives back the same objects for whatever did not change since it looked last."""

    def __init__(self) -> None:
        self._ports: dict[str, tuple[Service, tuple[tuple[ServicePort, Tier, str], ...]]] = {}
        self._claims: dict[str, Claim] = {}
        self._served: dict[str, _Served] = {}
        self._pods: dict[WorkloadId, tuple[Pod, tuple[tuple[_Order, Destination], ...]]] = {}
        self._hashes: dict[str, int] = {}
        self._seen: tuple[object, object, object] = (None, None, None)
        self._found = Destinations((), (), (), {})

    def find(self, registry: Registry, rules: Rules) -> Destinations:
        """Everything that a connection of an enrolled pod can be caught for."""
        seen = (registry.services, registry.pods, rules)
        known, self._seen = self._seen, seen
        if all(map(is_, seen[:2], known[:2])) and (rules is known[2] or not self._rules_matter(rules)):
            return self._found
        before = self._found
        claims = kept(before.claims, tuple(self._claim(registry)))
        self._claims = {c.name: c for c in claims}
        numbers = service_numbers((n for c in claims for n in (c.name, second_family(c.name))), self._hashes)
        self._served = {c.name: self._serve(c, numbers, registry, rules) for c in claims}
        rows: dict[_Order, Destination] = {}
        for served in self._served.values():
            for order, row in served.rows:
                rows.setdefault(order, row)
        for order, row in self._pod_rows(registry):
            rows.setdefault(order, row)
        l4 = sorted((s for served in self._served.values() for s in served.l4), key=lambda s: s.number)
        used = {number: s.claim.name for s in self._served.values() for number in _numbers(s)}
        self._found = Destinations(
            claims,
            kept(before.rows, tuple(row for _, row in sorted(rows.items(), key=itemgetter(0)))),
            kept(before.l4, tuple(l4)),
            before.numbers if used == before.numbers else dict(sorted(used.items())),
        )
        return self._found

    def _rules_matter(self, rules: Rules) -> bool:
        """Whether these rules make anything else of the same services and pods: they balance the fast path."""
        on_fast_path = (s for s in self._served.values() if s.claim.tier is not Tier.ENVOY)
        return any(rules.policy(s.claim.service.id, s.claim.service.id.namespace) != s.policy for s in on_fast_path)

    def _claim(self, registry: Registry) -> Iterator[Claim]:
        taken: set[_Address] = set()
        for service in sorted(registry.services.values(), key=lambda s: (s.age, s.id.namespace, s.id.name)):
            addresses: tuple[IPAddress, ...] | None = None
            for port, tier, name in self._ports_of(service):
                if addresses is None:
                    addresses = tuple(dict.fromkeys(_dialled(registry, service)))
                free = tuple(a for a in addresses if (a, port.port) not in taken)
                taken.update((a, port.port) for a in free)
                if not free:
                    continue
                known = self._claims.get(name)
                if known is not None and known.service is service and known.port is port and known.addresses == free:
                    yield known
                else:
                    yield Claim(service, port, free, tier, name)

    def _ports_of(self, service: Service) -> tuple[tuple[ServicePort, Tier, str], ...]:
        fqdn = service.id.fqdn
        known = self._ports.get(fqdn)
        if known is None or known[0] is not service:
            tiers = ((port, serving_tier(service, port)) for port in service.tcp_ports)
            known = (service, tuple((p, t, f"{fqdn}:{p.port}") for p, t in tiers if t is not Tier.DIRECT))
            self._ports[fqdn] = known
        return known[1]

    def _serve(self, claim: Claim, numbers: Mapping[str, int], registry: Registry, rules: Rules) -> _Served:
        mine = (numbers[claim.name], numbers[second_family(claim.name)])
        http = claim.tier is Tier.ENVOY
        members = () if http else registry.selected(claim.service)
        policy = None if http else rules.policy(claim.service.id, claim.service.id.namespace)
        known = self._served.get(claim.name)
        unchanged = known is not None and known.claim is claim and known.members is members
        if unchanged and known is not None and (known.numbers, known.policy) == (mine, policy):
            return known
        if http:
            addresses = [Destination(a, claim.port.port, Tier.ENVOY, mine[0]) for a in claim.addresses]
            return _Served(claim, mine, members, policy, tuple((_order(row), row) for row in addresses), ())
        l4 = tuple(l4_services(registry, rules, claim.service, claim.port, claim.addresses, numbers))
        rows = [Destination(a, p, Tier.FASTPATH, s.number) for s in l4 for a, p in s.addresses]
        return _Served(claim, mine, members, policy, tuple((_order(row), row) for row in rows), l4)

    def _pod_rows(self, registry: Registry) -> Iterator[tuple[_Order, Destination]]:
        known, self._pods = self._pods, {}
        for name, pod in registry.pods.items():
            entry = known.get(name)
            if entry is None or entry[0] is not pod:
                ips = () if pod.host_network else registry.addresses(pod)
                rows = (Destination(a, 0, Tier.DIRECT, 0) for a in ips)
                entry = (pod, tuple((_order(row), row) for row in rows))
            self._pods[name] = entry
            yield from entry[1]


def kept(before: tuple[T, ...], now: tuple[T, ...]) -> tuple[T, ...]:
    """The tuple of before if the new one has the same members."""
    return before if len(before) == len(now) and all(map(is_, before, now)) else now


def _order(row: Destination) -> _Order:
    return row.address.version, int(row.address), row.port


def _numbers(served: _Served) -> Iterator[int]:
    if served.claim.tier is Tier.ENVOY:
        yield served.numbers[0]
    for service in served.l4:
        yield service.number


def serving_tier(service: Service, port: ServicePort) -> Tier:
    """HTTP goes to Envoy whether or not a rule concerns it today: only an HTTP proxy can hand a kept-alive connection
    over to new rules between two requests. Pod addresses of a headless service stay alone otherwise."""
    if port.protocol.is_http:
        return Tier.ENVOY
    return Tier.DIRECT if service.headless else Tier.FASTPATH


def _dialled(registry: Registry, service: Service) -> tuple[IPAddress, ...]:
    """Virtual addresses, or for a headless service the addresses that its name resolves to."""
    if not service.headless:
        return service.addresses
    return tuple(a for p in registry.selected(service) for a in registry.addresses(p))
