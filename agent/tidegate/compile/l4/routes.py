"""Which route a connection takes that nobody looks into: the `tcp` and `tls` routes of VirtualServices, as a client at
a service port sees them. Pure; what explain tells and what the relay is told are both made here.

As upstream does it: a port that says that it is TLS has the `tls` routes, any other that is not HTTP the `tcp` routes,
of every VirtualService of its host, the oldest first. Of conditions the more special one wins wherever it stands: the
longer prefix of the dialled address, then the more exact name; what is equally special in the order of writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidegate.compile.rules import Rules
from tidegate.compile.visibility import Source
from tidegate.model.hosts import host_matches, specificity
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.mesh_config import EVERYBODY
from tidegate.model.net import IPAddress, IPNetwork
from tidegate.model.routing import MESH, L4Match, L4Route, VirtualService
from tidegate.model.selectors import selects

_MOST_PAIRS = 4096  # of names and prefixes of one match that are told apart by how special they are


@dataclass(frozen=True, slots=True)
class L4Candidate:
    """One match block of one route that this client can reach; match None = everything."""

    vs: VirtualService
    index: int  # of the route
    route: L4Route
    match_index: int = -1
    match: L4Match | None = None

    @property
    def line(self) -> int:
        return (self.match.line if self.match else 0) or self.route.line


@dataclass(frozen=True, slots=True)
class L4Condition:
    """What a connection has to be for a candidate: to one of these addresses, for one of these names; empty = any."""

    candidate: L4Candidate
    subnets: tuple[IPNetwork, ...] = ()
    names: tuple[str, ...] = ()

    def refusal(self, address: IPAddress, name: str) -> str:
        """Why a connection to this address that says this name ("" = none) is another one; empty if it is not."""
        if self.subnets and not any(address.version == n.version and address in n for n in self.subnets):
            return f"{address} is not in {', '.join(map(str, self.subnets))}"
        if self.names and not any(host_matches(pattern, name) for pattern in self.names if name):
            return f"the client asks for {name or 'no name'}, not for {', '.join(self.names)}"
        return ""


def kind_of_routes(port: ServicePort) -> str:
    """Which routes of a VirtualService are for a port: http, tls or tcp."""
    if port.protocol.is_http:
        return "http"
    return "tls" if port.protocol is Protocol.TLS else "tcp"


def routes_for(vs: VirtualService, port: ServicePort) -> tuple[L4Route, ...]:
    """Those of a VirtualService that are for a port that is not HTTP."""
    return vs.tls if port.protocol is Protocol.TLS else vs.tcp


def l4_owners(rules: Rules, service: Service, port: ServicePort) -> list[VirtualService]:
    """Every VirtualService that has routes for a service port, for whomever, in the order in which they are asked."""
    host = service.id.fqdn
    known = rules.owners_under(host) if host.startswith("*") else rules.owners(host)
    found = {id(vs): vs for vs in known if routes_for(vs, port)}
    return list(found.values())


def l4_candidates(
    rules: Rules, owners: Iterable[VirtualService], port: ServicePort, source: Source
) -> Iterator[L4Candidate]:
    """The routes that a client can reach through a port, as they are written, up to the first that takes everything."""
    for vs in owners:
        if not rules.sees(source, vs, port.port):
            continue
        for index, route in enumerate(routes_for(vs, port)):
            if not route.matches:
                yield L4Candidate(vs, index, route)
                return
            for number, match in enumerate(route.matches):
                if _reachable(match, source, port.port):
                    yield L4Candidate(vs, index, route, number, match)
                    if match.catches_all:
                        return


def in_order(candidates: Iterable[L4Candidate]) -> list[L4Condition]:
    """What is asked of a connection, the first that holds decides."""
    pairs: list[tuple[tuple[int, int, int], L4Condition]] = []
    for candidate in candidates:
        match = candidate.match or L4Match()
        subnets: list[tuple[IPNetwork, ...]] = [(n,) for n in match.subnets] or [()]
        names: list[tuple[str, ...]] = [(n,) for n in match.sni_hosts] or [()]
        if len(subnets) * len(names) > _MOST_PAIRS:
            subnets, names = [match.subnets], [match.sni_hosts]
        pairs.extend((rank(s, n), L4Condition(candidate, s, n)) for s in subnets for n in names)
    pairs.sort(key=lambda pair: pair[0])
    return _merged(condition for _, condition in pairs)


def looks_at_client(rules: Rules, owners: Iterable[VirtualService], port: ServicePort) -> bool:
    """Whether these routes are not the same ones for every client. A Sidecar may hide any of them."""
    owners = list(owners)
    return bool(owners and rules.sidecars) or any(
        (vs.export_to or rules.mesh.virtual_services_to) != EVERYBODY
        or any(m.source_labels or m.source_namespace for r in routes_for(vs, port) for m in r.matches)
        for vs in owners
    )


def _reachable(match: L4Match, source: Source, port: int) -> bool:
    """Unlike with HTTP every condition counts, also beside gateways."""
    if (match.port and match.port != port) or (match.gateways and MESH not in match.gateways):
        return False
    if match.source_namespace and match.source_namespace != source.namespace:
        return False
    return selects(match.source_labels, source.labels)


def rank(subnets: tuple[IPNetwork, ...], names: tuple[str, ...]) -> tuple[int, int, int]:
    """Sort key of a condition, the most special one first."""
    longest = max((n.prefixlen + (96 if n.version == 4 else 0) for n in subnets), default=-1)
    wildcard, length, _ = min((specificity(n) for n in names), default=(2, 0, ""))
    return (-longest, wildcard, length if wildcard else 0)


def _merged(conditions: Iterable[L4Condition]) -> list[L4Condition]:
    """Neighbours of one candidate as one condition, where they differ in nothing but names."""
    out: list[L4Condition] = []
    for condition in conditions:
        last = out[-1] if out else None
        if last is not None and last.candidate == condition.candidate and last.subnets == condition.subnets:
            out[-1] = L4Condition(last.candidate, last.subnets, (*last.names, *condition.names))
        else:
            out.append(condition)
    return out
