"""Which VirtualService and DestinationRule apply, for whom. Shared by the emitter of Envoy routes and the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidegate.compile.derive import Read, derived
from tidegate.compile.tables import ANY_HOST, DESTINATION_RULES, VIRTUAL_SERVICES
from tidegate.compile.visibility import Source, mesh_config, sees_rule
from tidegate.model.hosts import host_matches, specificity
from tidegate.model.kube import Service
from tidegate.model.mesh_config import EVERYBODY, Compat, MeshConfig
from tidegate.model.names import ServiceName
from tidegate.model.origin import Origin
from tidegate.model.routing import MESH, MILLION, HttpMatch, HttpRoute, VirtualService
from tidegate.model.selectors import selects
from tidegate.model.traffic import (
    Balancing,
    ConsistentHash,
    DestinationRule,
    LoadBalancer,
    Subset,
    TrafficPolicy,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One match block of one route that this client can reach; match None = everything."""

    route_index: int
    route: HttpRoute
    match_index: int
    match: HttpMatch | None


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """The DestinationRules of one host merged: subsets united, the oldest top-level policy."""

    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    origins: tuple[Origin, ...] = ()

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)

    @property
    def plain(self) -> DestinationPolicy:
        """The same subsets, and of the policies only what decides where traffic goes."""
        subsets = tuple(replace(s, policy=s.policy.plain) for s in self.subsets)
        return replace(self, policy=self.policy.plain, subsets=subsets)

    def for_port(self, port: int, subset: str = "") -> TrafficPolicy:
        """The policy that holds for a port, with the subset's on top."""
        base = self.policy.for_port(port)
        found = self.subset(subset) if subset else None
        return base.overlaid(found.policy, port) if found else base


NO_POLICY = DestinationPolicy()
_IN_TURN = LoadBalancer(Balancing.ROUND_ROBIN)
_STICKY = LoadBalancer(Balancing.CONSISTENT_HASH, ConsistentHash(source_ip=True))


def balancer(service: Service, settings: TrafficPolicy, mesh: MeshConfig) -> LoadBalancer | None:
    """How an endpoint of a service is chosen: as its DestinationRule says, else as the Service itself does, else by the
    default of the API that the mesh is compatible with."""
    chosen = settings.load_balancer or (_STICKY if service.affinity_s else None)
    return _IN_TURN if chosen is None and mesh.compat is Compat.V1ALPHA3 else chosen


def with_defaults(route: HttpRoute, mesh: MeshConfig) -> HttpRoute:
    """A route with what holds for the mesh where it says nothing itself."""
    fault = route.fault
    if fault is not None and None in (fault.delay_share, fault.abort_share):
        everybody = MILLION if mesh.compat is Compat.V1ALPHA3 else 0
        delay, abort = (everybody if s is None else s for s in (fault.delay_share, fault.abort_share))
        route = replace(route, fault=replace(fault, delay_share=delay, abort_share=abort))
    return route if route.retries is not None else replace(route, retries=mesh.default_retries)


class Rules:
    """The rules that concern somebody, looked up through `read`."""

    def __init__(self, read: Read) -> None:
        self._read = read

    @property
    def mesh(self) -> MeshConfig:
        """What is said for the whole mesh."""
        return mesh_config(self._read)

    @property
    def virtual_services(self) -> tuple[VirtualService, ...]:
        """All of the mesh, the oldest first."""
        return self._read(_of_mesh, "")

    def owner(self, host: str, source: Source, port: int) -> VirtualService | None:
        """The one VirtualService that a client sees for a host when it dials a port: exact name first, else the longest
        wildcard; of equal hosts the oldest."""
        return next((vs for vs in self.owners(host) if sees_rule(self._read, source, vs, port)), None)

    def owners(self, host: str) -> list[VirtualService]:
        """Every VirtualService that some client may see for a host, in the order in which they are asked."""
        exact = [] if host.startswith("*") else self._read(VIRTUAL_SERVICES, host) or ()
        wild = (vs for pattern, vs in self._read(_wild, "") if host_matches(pattern, host))
        return [*(vs for vs in exact if MESH in vs.gateways), *wild]

    def policy(self, service: ServiceName, client: str) -> DestinationPolicy:
        """What DestinationRules say for clients of namespace `client`: its own, else the service's, else the root's.

        A rule in any other namespace is never used.
        """
        return self._read(_policy, (service, client))

    def policy_scope(self, service: ServiceName, client: str) -> str:
        """Name part of clusters whose policy is special to a client namespace; empty for the policy of everybody."""
        same = self.policy(service, client) == self.policy(service, service.namespace)
        return "" if same else client


@derived
def _of_mesh(read: Read, _: str) -> tuple[VirtualService, ...]:
    known = {id(vs): vs for group in read.all(VIRTUAL_SERVICES).values() for vs in group if MESH in vs.gateways}
    return tuple(sorted(known.values(), key=lambda v: (v.age, v.namespace, v.name)))


@derived
def _wild(read: Read, _: str) -> tuple[tuple[str, VirtualService], ...]:
    """Hosts with a wildcard, the most specific first; of equal ones the oldest."""
    found = [
        (host, vs)
        for vs in read(VIRTUAL_SERVICES, ANY_HOST) or ()
        if MESH in vs.gateways
        for host in vs.hosts
        if host.startswith("*")
    ]
    return tuple(sorted(found, key=lambda item: specificity(item[0])))


@derived
def _policy(read: Read, key: tuple[ServiceName, str]) -> DestinationPolicy:
    service, client = key
    fqdn = service.fqdn
    mesh = mesh_config(read)
    places = [] if client == mesh.root_namespace else [client]
    for namespace in dict.fromkeys((*places, service.namespace, mesh.root_namespace)):
        exact = read(DESTINATION_RULES, (namespace, fqdn)) or ()
        wild = [r for r in read(DESTINATION_RULES, (namespace, ANY_HOST)) or () if host_matches(r.host, fqdn)]
        hosts = sorted({r.host for r in wild}, key=specificity)
        for rules in (exact, *([r for r in wild if r.host == host] for host in hosts)):
            usable = [r for r in rules if namespace == client or r.exported_to(client, mesh.destination_rules_to)]
            if usable:
                return _merge(usable)
    return NO_POLICY


def _merge(rules: list[DestinationRule]) -> DestinationPolicy:
    subsets: dict[str, Subset] = {}
    for rule in rules:
        for subset in rule.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((r.policy for r in rules if r.policy != TrafficPolicy()), TrafficPolicy())
    return DestinationPolicy(policy, tuple(subsets.values()), tuple(r.origin for r in rules))


def candidates(vs: VirtualService, source: Source, port: int) -> Iterator[Candidate]:
    """The routes of a VirtualService that a client can reach through a port, in order, up to the first catch-all."""
    for index, route in enumerate(vs.http):
        if not route.matches:
            yield Candidate(index, route, -1, None)
            return
        for match_index, match in enumerate(route.matches):
            if not _reachable(match, source, port):
                continue
            yield Candidate(index, route, match_index, match)
            if match.catches_all:
                return


def looks_at_source(vs: VirtualService, mesh: MeshConfig) -> tuple[frozenset[str], bool]:
    """Label keys that its routes compare, and whether anything depends on the client's namespace."""
    matches = [m for r in vs.http for m in r.matches if not m.gateways]
    shown_to = vs.export_to or mesh.virtual_services_to
    by_namespace = shown_to != EVERYBODY or any(m.source_namespace for m in matches)
    return frozenset(k for m in matches for k in m.source_labels), by_namespace


def _reachable(match: HttpMatch, source: Source, port: int) -> bool:
    if match.port and match.port != port:
        return False
    if match.gateways:
        return MESH in match.gateways  # with gateways given, conditions on the source are not looked at
    if match.source_namespace and match.source_namespace != source.namespace:
        return False
    return selects(match.source_labels, source.labels)
