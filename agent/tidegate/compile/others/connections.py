"""Connections that nobody looks into, at an Envoy that is not ours: which filter chains of which listener. Pure.

The routes are those that the relay follows (compile/l4/routes.py), and what is said of them is said as for the node's
Envoy (compile/outbound/forwards.py). What is different is who knows what was dialled: a listener stands for an address
and a port here, and where no address says which service is meant, a TLS client's name does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tidegate.compile.allocation import RANGE
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.others.view import ClientView
from tidegate.compile.outbound.destinations import Claim
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.outbound.forwards import CarriedPort, asked_for, forwards, proxy, ranges
from tidegate.compile.registry import written
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.net import IPAddress, parse_ip
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ResourceRef
from tidegate.model.tier import Tier

LOOPBACK = "127.0.0.1"
_MOST_LISTENERS = 16  # of one service port; of more addresses chains of one listener tell which was dialled


@dataclass(slots=True)
class OpenListener:
    """A listener in the making: an address and a port, and the filter chains of all who are served there."""

    address: str
    port: int
    chains: list[Json] = field(default_factory=list)
    refs: set[ResourceRef] = field(default_factory=set)
    origins: dict[Origin, None] = field(default_factory=dict)
    names: bool = False  # whether a chain is for what a TLS client asks for
    _taken: set[tuple[str, str]] = field(default_factory=set)

    def claim(self, at: Iterable[IPAddress], names: Iterable[str]) -> tuple[list[IPAddress], list[str]] | None:
        """The part of these addresses and names that no older chain has; None if there is no such part. Envoy refuses
        a listener of which two chains are for the same."""
        wanted = [(str(address), name) for address in at or ("",) for name in names or ("",)]
        free = [pair for pair in wanted if pair not in self._taken]
        # As a whole or by its names: half of the addresses with half of the names would be two chains.
        left = [name for name in names if all((str(address), name) in free for address in at or ("",))]
        if not free or (names and not left) or (not names and len(free) != len(wanted)):
            return None
        self._taken.update((str(address), name) for address in at or ("",) for name in left or ("",))
        return list(at), left


class OpenListeners:
    """Every listener of a client that is for services."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, int], OpenListener] = {}

    def at(self, address: str, port: int) -> OpenListener:
        """The listener of an address and a port."""
        return self.made.setdefault((address, port), OpenListener(address, port))

    def add(self, place: OpenListener, chain: Json, at: Iterable[IPAddress] = (), names: Iterable[str] = ()) -> bool:
        """Add a chain for connections to these addresses (none: whichever) of clients that ask for these names (none:
        whatever they ask for), as far as no older one has them. Whether there was something left."""
        found = place.claim(tuple(at), tuple(names))
        if found is None:
            return False
        addresses, left = found
        match: Json = {**asked_for(left)}
        if addresses:
            match["prefix_ranges"] = list(ranges(tuple(addresses)))
        place.chains.append({**chain, "filter_chain_match": match} if match else chain)
        place.names = place.names or bool(left)
        return True


def add_connections(view: ClientView, places: OpenListeners) -> None:
    """The chains of every service port that is not HTTP, of the oldest service first."""
    for service, port in view.ports():
        if not port.protocol.is_http and not service.external_name:
            for at, inside, names in _dialled(view, places, service, port):
                _add(view, places, service, port, places.at(at, port.port), inside, names)


def _dialled(
    view: ClientView, places: OpenListeners, service: Service, port: ServicePort
) -> Iterator[tuple[str, tuple[IPAddress, ...], tuple[str, ...]]]:
    """Where a service port is reached: addresses of listeners, each with what tells its chains from others': addresses,
    names of the handshake."""
    tls = port.protocol is Protocol.TLS
    if not view.client.captured:
        # Who comes second is told apart by name; the oldest also has who asks for none.
        taken = (LOOPBACK, port.port) in places.made
        if not taken or tls:
            yield LOOPBACK, (), view.hosts(service) if taken else ()
        return
    if service.headless:
        pods = (address for pod in view.registry.selected(service) for address in pod.ips)
        somebody = (*pods, *(endpoint.address for endpoint in written(view.read, service)))
        known = [address for address in dict.fromkeys(somebody) if address not in view.client.addresses]
    else:
        # What is given to a host without addresses, only the mesh's own DNS tells: others dial what the world's says.
        known = [a for a in service.addresses if service.external is None or a.version != 4 or a not in RANGE]
    if len(known) > _MOST_LISTENERS and not service.headless:
        yield view.any_address, tuple(known), ()
    elif known:
        for address in known:
            yield str(address), (), ()
    elif service.external is not None and tls and service.id.fqdn != "*":
        yield view.any_address, (), (service.id.fqdn,)
    elif service.as_dialled:
        yield view.any_address, (), ()


def _add(
    view: ClientView,
    places: OpenListeners,
    service: Service,
    port: ServicePort,
    place: OpenListener,
    inside: tuple[IPAddress, ...],
    names: tuple[str, ...],
) -> None:
    own = view.shown(ClusterKey(service.id.fqdn, port.port))
    dialled = inside or (parse_ip(place.address),)
    claim = Claim(service, port, dialled, Tier.ENVOY, f"{service.id.fqdn}:{port.port}")
    for found in forwards(view.read, Filtered(), claim, view.source):
        # A route says names itself; what no route is for has those by which the service is known.
        told = _as_told(view, replace(found, service_port=own, names=found.names or names))
        at = found.addresses if inside else ()
        chain = {"name": "|".join((own, *told.names)), "filters": [proxy(told)]}
        if places.add(place, chain, at, told.names):
            place.refs |= {ResourceRef(CLUSTERS, name) for name, _ in told.targets if ClusterKey.parse(name)}
            place.origins |= {service.origin: None, **dict.fromkeys(told.origins)}


def _as_told(view: ClientView, found: CarriedPort) -> CarriedPort:
    """With the names by which the client knows clusters."""

    def shown(name: str) -> str:
        key = ClusterKey.parse(name)
        return view.shown(key) if key else name

    return replace(found, targets=tuple((shown(name), weight) for name, weight in found.targets))
