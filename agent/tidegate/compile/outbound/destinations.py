"""Who serves which (address, port): rows of the kernel's table and services of the fast path.

An (address, port) belongs to one service only; of several that claim it the oldest wins, for kernel rows, fast path
and Envoy's scopes alike, which is why all three are made from the claims found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import is_not
from typing import Final, Generic, TypeVar

from tidegate.compile.derive import Derivations, Read, Spread, derived
from tidegate.compile.each import Mapped
from tidegate.compile.l4.carried import envoy_carries, everybody
from tidegate.compile.l4.numbers import service_numbers
from tidegate.compile.l4.pools import PoolKey, pool
from tidegate.compile.l4.ranges import range_pools, range_service
from tidegate.compile.l4.routes import l4_owners
from tidegate.compile.l4.services import l4_services, second_family
from tidegate.compile.l4.views import PoolViews, pools_of, views_of, with_numbers
from tidegate.compile.ranges import Range, ranges
from tidegate.compile.registry import Registry, endpoints_known, written
from tidegate.compile.rules import Rules
from tidegate.compile.tables import (
    ANY_HOST,
    DESTINATION_RULES,
    FOREIGN_RULES,
    NUMBERS,
    PODS_BY_ADDRESS,
    PODS_BY_SERVICE,
    SERVICES,
    SERVICES_BY_ADDRESS,
    SERVICES_BY_SELECTOR,
    SLICES_BY_ADDRESS,
)
from tidegate.compile.visibility import Source, mesh_config
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Pod, Service, ServicePort
from tidegate.model.names import ServiceName
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import Destination
from tidegate.model.plan.relay import L4Service
from tidegate.model.selectors import pairs, selects
from tidegate.model.tier import Tier
from tidegate.model.traffic import TrafficPolicy

T = TypeVar("T")


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
    """Everything that a connection of an enrolled pod can be caught for."""

    claims: tuple[Claim, ...]  # by service
    ranges: tuple[Range, ...]
    range_rows: tuple[Destination, ...]  # of each
    rows: tuple[Destination, ...]  # of services, then of pods, then of ranges
    l4: tuple[L4Service, ...]  # by service, those with endpoints
    numbers: Mapping[int, str]  # number -> FQDN:port


def serving_tier(read: Read, service: Service, port: ServicePort) -> Tier:
    """HTTP goes to Envoy whether or not a rule concerns it today: only an HTTP proxy can hand a kept-alive connection
    over to new rules between two requests. Pod addresses of a headless service stay alone otherwise, as long as no rule
    says anything of connections to them."""
    if port.protocol.is_http:
        return Tier.ENVOY
    return Tier.DIRECT if service.headless and not _ruled(read, service, port) else Tier.FASTPATH


def _ruled(read: Read, service: Service, port: ServicePort) -> bool:
    """Whether any rule may say something of connections to a service port."""
    fqdn = service.id.fqdn
    if l4_owners(Rules(read), service, port):
        return True
    places = dict.fromkeys((service.id.namespace, mesh_config(read).root_namespace))
    own = (rule for place in places for key in (fqdn, ANY_HOST) for rule in read(DESTINATION_RULES, (place, key)) or ())
    others = (rule for key in (fqdn, ANY_HOST) for rule in read(FOREIGN_RULES, key) or ())
    return any(rule.policy != TrafficPolicy() and host_matches(rule.host, fqdn) for rule in (*own, *others))


@derived
def claims(read: Read, fqdn: str) -> tuple[Claim, ...]:
    """What a service serves, as far as no older one does."""
    service = read(SERVICES, fqdn)
    ports = {p.port: p for p in reversed(service.tcp_ports) if _claims(read, service, p)} if service else {}
    if service is None or not ports:
        return ()
    rivals = {address: claimants(read, address) for address in _dialled(read, service)}
    found = []
    for number, port in reversed(ports.items()):
        won = tuple(a for a, those in rivals.items() if _winner(read, those, number) == service.id)
        if won:
            found.append(Claim(service, port, won, serving_tier(read, service, port), f"{fqdn}:{number}"))
    return tuple(found)


def _claims(read: Read, service: Service, port: ServicePort) -> bool:
    """Whether we can serve a port. Of whose endpoints nothing is known, the virtual address is left to who knows them
    (kube-proxy), unless a route may lead its requests to somebody else."""
    if serving_tier(read, service, port) is Tier.DIRECT:
        return False
    return endpoints_known(read, service) or (port.protocol.is_http and bool(Rules(read).owners(service.id.fqdn)))


def _dialled(read: Read, service: Service) -> tuple[IPAddress, ...]:
    """Virtual addresses, or for a headless service the addresses that its name resolves to."""
    if not service.headless:
        return service.addresses
    pods = (address for pod in read(PODS_BY_SERVICE, service.id.fqdn) or () for address in pod.ips)
    return tuple(dict.fromkeys((*pods, *(endpoint.address for endpoint in written(read, service)))))


def claimants(read: Read, address: IPAddress) -> list[Service]:
    """Services that are dialled at an address: whom the cluster gave it before who only wrote it down (precedence)."""
    found = {s.id: s for s in read(SERVICES_BY_ADDRESS, address) or ()}
    for pod in read(PODS_BY_ADDRESS, address) or ():
        for pair in pairs(pod.id.namespace, pod.labels):
            for service in read(SERVICES_BY_SELECTOR, pair) or ():
                if service.headless and not service.by_slices and selects(service.selector, pod.labels):
                    found[service.id] = service
    for one in read(SLICES_BY_ADDRESS, address) or ():
        named = read(SERVICES, one.service.fqdn)
        if named is not None and named.headless and one.speaks_for(named):
            found[named.id] = named
    return sorted(found.values(), key=lambda s: s.precedence) if len(found) > 1 else list(found.values())


def _winner(read: Read, claimants: list[Service], number: int) -> ServiceName | None:
    return next((s.id for s in claimants if any(p.port == number and _claims(read, s, p) for p in s.tcp_ports)), None)


def serving(read: Read, claim: Claim, source: Source) -> Tier:
    """Who serves a claim for a client, as long as somebody can."""
    carried = claim.tier is Tier.FASTPATH and envoy_carries(read, claim.service, claim.port, source)
    return Tier.ENVOY if carried else claim.tier


@derived
def service_rows(read: Read, fqdn: str) -> tuple[Destination, ...]:
    """Rows for what a service is dialled at. Each family of a service of the fast path has a number of its own. What no
    endpoint serves is refused by connect() itself, as without a mesh; but an HTTP port's routes may know somebody. A
    port of the fast path leads to Envoy if everybody's policy needs it; seen.py has the rows of those who differ."""
    rows = []
    empty = {address for served in read(fast_path, fqdn) if not _is_served(served) for address in served.addresses}
    for claim in read(claims, fqdn):
        first = claim.addresses[0].version
        there = serving(read, claim, everybody(claim.service))
        for address in claim.addresses:
            same = claim.tier is Tier.ENVOY or address.version == first
            number = read(NUMBERS, claim.name if same else second_family(claim.name)) or 0
            tier = Tier.REFUSE if (address, claim.port.port) in empty else there
            rows.append(Destination(address, claim.port.port, tier, number))
    return tuple(rows)


@derived
def routes(read: Read, fqdn: str) -> tuple[tuple[int, PoolViews], ...]:
    """What clients see of a service's ports: port and views, of those that are not the same service for everybody."""
    found = ((c.port.port, views_of(read, c.service, c.port)) for c in _relayed_claims(read, fqdn))
    return tuple((port, views) for port, views in found if views)


@derived
def pool_keys(read: Read, fqdn: str) -> tuple[PoolKey, ...]:
    """Where the routes of a service lead."""
    return tuple(dict.fromkeys(key for _, views in read(routes, fqdn) for key in pools_of(views)))


@derived
def fast_path(read: Read, fqdn: str) -> tuple[L4Service, ...]:
    """What the fast path serves of a service."""
    found = dict(read(routes, fqdn))
    out: list[L4Service] = []
    for claim in _relayed_claims(read, fqdn):
        numbers = _numbers(read, claim)
        first = claim.addresses[0].version
        own = {v: numbers.get(claim.name if v == first else second_family(claim.name), 0) for v in (4, 6)}
        views = with_numbers(found.get(claim.port.port, {}), lambda name: read(NUMBERS, name) or 0, own.__getitem__)
        out.extend(l4_services(Registry(read), Rules(read), claim.service, claim.port, claim.addresses, numbers, views))
    return tuple(out)


def _relayed_claims(read: Read, fqdn: str) -> Iterator[Claim]:
    return (claim for claim in read(claims, fqdn) if claim.tier is Tier.FASTPATH)


@derived
def _pool(read: Read, key: PoolKey) -> L4Service:
    numbers = {name: read(NUMBERS, name) or 0 for name in (str(key), key.counter)}
    return pool(Registry(read), Rules(read), key, numbers)


@derived
def _same(_: Read, key: PoolKey) -> PoolKey:
    return key


POOLS: Final = Spread(pool_keys, SERVICES)


@derived
def _relayed(read: Read, fqdn: str) -> tuple[L4Service, ...]:
    """What the relay is told: no service without endpoints, so that it knows one before a row leads to it."""
    return tuple(served for served in read(fast_path, fqdn) if _is_served(served))


def _is_served(service: L4Service) -> bool:
    """Whether a connection may come to something: by its own endpoints, or by a route to somebody else."""
    return bool(service.endpoints or service.views)


def _numbers(read: Read, claim: Claim) -> dict[str, int]:
    """0 as long as nobody gave numbers out, as for those who only want to explain."""
    return {name: read(NUMBERS, name) or 0 for name in _number_names(claim)}


def claim_at(read: Read, address: IPAddress, port: int) -> Claim | None:
    """The claim by which an address and port are served."""
    found = (claim for service in claimants(read, address) for claim in read(claims, service.id.fqdn))
    return next((c for c in found if c.port.port == port and address in c.addresses), None)


def pod_row(address: IPAddress, pods: tuple[Pod, ...]) -> Destination | None:
    """The row by which the kernel tells a pod's address from an unknown one; None if it is the host's."""
    return None if all(pod.host_network for pod in pods) else Destination(address, 0, Tier.DIRECT, 0)


class _Flat(Generic[T]):
    """Tuples in a row, as long as they are the same ones."""

    def __init__(self) -> None:
        self._parts: tuple[tuple[T, ...], ...] = ()
        self.items: tuple[T, ...] = ()

    def of(self, parts: tuple[tuple[T, ...], ...]) -> tuple[T, ...]:
        if parts is not self._parts:
            self._parts = parts
            items = tuple(chain.from_iterable(parts))
            self.items = self.items if items == self.items else items
        return self.items


class FindDestinations:
    """Finds destinations again and again; what did not change is the same object."""

    def __init__(self, derivations: Derivations) -> None:
        self._derivations = derivations
        self._claims: _Flat[Claim] = _Flat()
        self._rows: _Flat[Destination] = _Flat()
        self._l4: _Flat[L4Service] = _Flat()
        self._pod_rows = Mapped(pod_row, lambda address: (address.version, int(address)))
        self._parts: tuple[tuple[Destination, ...], ...] = ((), (), ())
        self._range_rows: tuple[Destination, ...] = ()
        self._all_rows: tuple[Destination, ...] = ()
        self._numbered: tuple[object, object] | None = None
        self._names: dict[str, int] = {}
        self._used: Mapping[int, str] = {}

    def __call__(self) -> Destinations:
        found = self._claims.of(self._derivations.each(claims, SERVICES).ordered())
        wide = self._derivations.value(ranges, "")
        of_services = self._derivations.each(_same, POOLS).ordered()
        of_ranges = self._derivations.value(range_pools, "")
        others = tuple(sorted(set(of_ranges).difference(of_services))) if of_ranges else ()
        pools = (*of_services, *others)
        if self._numbered is None or found is not self._numbered[0] or (pools, wide) != self._numbered[1]:
            self._number(found, pools, wide)
            self._numbered = (found, (pools, wide))
        self._derivations.change({NUMBERS: self._names})
        rows = self._join_rows(
            self._rows.of(self._derivations.each(service_rows, SERVICES).ordered()),
            self._pod_rows.follow(self._derivations.table(PODS_BY_ADDRESS)),
            self._rows_of(wide),
        )
        relayed = self._derivations.each(_relayed, SERVICES).ordered()
        pooled = self._derivations.each(_pool, POOLS).ordered()
        value = self._derivations.value
        ranged = tuple(value(range_service, r.name) for r in wide if r.tier is Tier.FASTPATH)
        pooled = (*pooled, *(value(_pool, key) for key in others), *ranged)
        l4 = self._l4.of((*relayed, pooled) if pooled else relayed)
        return Destinations(found, wide, self._range_rows, rows, l4, self._used)

    def _rows_of(self, wide: tuple[Range, ...]) -> tuple[Destination, ...]:
        made = []
        for one in wide:
            address, bits = one.place
            made.append(Destination(address, one.port, one.tier, self._names[one.name], bits=bits))
        if tuple(made) != self._range_rows:
            self._range_rows = tuple(made)
        return self._range_rows

    def _join_rows(self, *parts: tuple[Destination, ...]) -> tuple[Destination, ...]:
        if any(map(is_not, parts, self._parts)):
            self._parts = parts
            self._all_rows = tuple(chain(*parts))
        return self._all_rows

    def _number(self, found: tuple[Claim, ...], pools: tuple[PoolKey, ...], wide: tuple[Range, ...]) -> None:
        names = {name: key.service_port for key in pools for name in (str(key), key.counter)}
        names.update((one.name, one.told_as) for one in wide)
        names.update((name, claim.name) for claim in found for name in _number_names(claim))
        if names.keys() != self._names.keys():
            self._names = service_numbers(names)
            self._used = {self._names[name]: names[name] for name in sorted(names)}


def _number_names(claim: Claim) -> Iterator[str]:
    yield claim.name
    if claim.tier is Tier.FASTPATH and len({a.version for a in claim.addresses}) > 1:
        yield second_family(claim.name)
