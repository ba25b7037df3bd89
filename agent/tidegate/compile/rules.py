"""Which VirtualService and DestinationRule apply, for whom. Shared by the emitter of Envoy routes and the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidegate.compile.derive import Read, derived
from tidegate.compile.tables import ANY_HOST, DESTINATION_RULES, SIDECARS, VIRTUAL_SERVICES
from tidegate.compile.visibility import Source, mesh_config, sees_rule
from tidegate.model.hosts import host_matches, overlap, specificity
from tidegate.model.kube import Service
from tidegate.model.mesh_config import EVERYBODY, Compat, MeshConfig, UsualTraffic
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
    """The DestinationRules of one host merged: subsets united, the oldest top-level policy. usual: below them all."""

    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    origins: tuple[Origin, ...] = ()
    usual: UsualTraffic | None = None

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)

    @property
    def client_labels(self) -> frozenset[str]:
        """Labels of a client by which its endpoints are put in order."""
        policies = (self.policy, *(subset.policy for subset in self.subsets))
        said = frozenset[str]().union(*(policy.client_labels for policy in policies))
        usual = self.usual.near if self.usual else None
        if usual is None or not self._finds_sick:
            return said
        return said | usual.client_labels

    @property
    def _finds_sick(self) -> bool:
        """Whether there is outlier detection at any level, without which the mesh's order is none."""
        policies = (self.policy, *(subset.policy for subset in self.subsets))
        every = (*policies, *(entry for policy in policies for entry in policy.ports.values()))
        return any(p.outlier for p in every) or (self.usual is not None and self.usual.blocks.outlier is not None)

    @property
    def plain(self) -> DestinationPolicy:
        """The same subsets, and of the policies only what decides where traffic goes."""
        subsets = tuple(replace(s, policy=s.policy.plain) for s in self.subsets)
        usual = self.usual.plain if self.usual else None
        return replace(self, policy=self.policy.plain, subsets=subsets, usual=usual)

    def for_port(self, port: int, subset: str = "") -> TrafficPolicy:
        """The policy that holds for a port, with the subset's on top, and below it what is usual in the mesh."""
        said = self.policy.for_port(port)
        if subset and (found := self.subset(subset)) is not None:
            said = said.overlaid(found.policy, port)
        return self.usual.under(said) if self.usual else said


NO_POLICY = DestinationPolicy()
LABELS = ";"  # before each label in the name of a client; no namespace, rule or label has one
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
    retries = mesh.default_retries if route.retries is None else mesh.what_failed(route.retries)
    return route if retries == route.retries else replace(route, retries=retries)


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

    @property
    def sidecars(self) -> bool:
        """Whether there are Sidecars, which hide rules from some clients."""
        return bool(self._read.all(SIDECARS))

    def sees(self, source: Source, vs: VirtualService, port: int) -> bool:
        """Whether a VirtualService exists for a client that dials a port."""
        return sees_rule(self._read, source, vs, port)

    def owner(self, host: str, source: Source, port: int) -> VirtualService | None:
        """The one VirtualService whose HTTP routes a client sees for a host when it dials a port: exact name first,
        else the longest wildcard; of equal hosts the oldest. One that has routes of connections only is none."""
        seen = (vs for vs in self.owners(host) if self.sees(source, vs, port))
        return next((vs for vs in seen if not vs.only_l4), None)

    def owners(self, host: str) -> list[VirtualService]:
        """Every VirtualService that some client may see for a host, in the order in which they are asked."""
        exact = [] if host.startswith("*") else self._read(VIRTUAL_SERVICES, host) or ()
        wild = (vs for pattern, vs in self._read(_wild, "") if host_matches(pattern, host))
        return [*(vs for vs in exact if MESH in vs.gateways), *wild]

    def owners_under(self, pattern: str) -> list[VirtualService]:
        """Every VirtualService that some client may see for some name under a wildcard, the oldest first."""
        return [vs for vs in self.virtual_services if any(overlap(pattern, host) for host in vs.hosts)]

    def policy(self, service: ServiceName, client: str) -> DestinationPolicy:
        """What DestinationRules say for clients: their own namespace's, else the service's, else the root's.

        client: a namespace, or what policy_scope() gave. A rule in any other namespace is never used.
        """
        return self._read(_policy, (service, client.partition(LABELS)[0]))

    def policy_scope(self, service: ServiceName, source: Source) -> str:
        """Name part of clusters whose policy, or whose order of endpoints, is special to some clients:
        NAMESPACE[/RULE][;LABEL=VALUE...]; empty for what everybody has.

        RULE: the one that selects these clients. LABEL: what decides which endpoints are nearer to them.
        """
        client = self._client(service, source)
        policy = self.policy(service, client)
        if policy == self.policy(service, service.namespace):
            client = service.namespace
        labels = [f"{LABELS}{key}={source.labels.get(key, '')}" for key in sorted(policy.client_labels)]
        return "".join((client, *labels)) if labels or client != service.namespace else ""

    def policy_of(self, service: ServiceName, source: Source) -> DestinationPolicy:
        """What DestinationRules say for one client."""
        return self.policy(service, self._client(service, source))

    def labels_compared(self, service: ServiceName, namespace: str) -> frozenset[str]:
        """Label keys of clients of a namespace on which policy_scope() depends."""
        if not self._read(_look_at_clients, ""):
            return frozenset()
        levels = _levels(self._read, service.fqdn, namespace)
        selecting = frozenset(k for rules in levels for r in rules for k in r.selector or ())
        policies = [self.policy(service, namespace)]
        policies += [self.policy(service, f"{namespace}/{r.name}") for rules in levels for r in rules if r.selector]
        return selecting.union(*(policy.client_labels for policy in policies))

    def _client(self, service: ServiceName, source: Source) -> str:
        """NAMESPACE/RULE of the rule that selects a client, else its namespace."""
        if not self._read(_look_at_clients, ""):
            return source.namespace
        for namespace in _places(self._read, service, source.namespace):
            for rules in _levels(self._read, service.fqdn, namespace):
                chosen = next((r for r in rules if r.selector is not None and selects(r.selector, source.labels)), None)
                if chosen is not None and namespace == source.namespace:
                    return f"{source.namespace}/{chosen.name}"
                if _usable(self._read, rules, source.namespace):
                    return source.namespace
        return source.namespace


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


def _levels(read: Read, fqdn: str, namespace: str) -> tuple[tuple[DestinationRule, ...], ...]:
    """The rules of a namespace for a host, by their own host, the most specific first; of equal hosts the oldest.

    Not derived: a node more for each service would cost more than looking twice.
    """
    exact = read(DESTINATION_RULES, (namespace, fqdn)) or ()
    wild = [r for r in read(DESTINATION_RULES, (namespace, ANY_HOST)) or () if host_matches(r.host, fqdn)]
    hosts = sorted({r.host for r in wild}, key=specificity)
    return tuple(filter(None, (exact, *(tuple(r for r in wild if r.host == host) for host in hosts))))


def _places(read: Read, service: ServiceName, client: str) -> tuple[str, ...]:
    """Namespaces whose rules a client uses, in the order in which they are asked."""
    root = mesh_config(read).root_namespace
    return tuple(dict.fromkeys((*(() if client == root else (client,)), service.namespace, root)))


def _usable(read: Read, rules: tuple[DestinationRule, ...], client: str) -> list[DestinationRule]:
    """Those that are there for every client of a namespace."""
    default = mesh_config(read).destination_rules_to
    return [r for r in rules if r.selector is None and (r.namespace == client or r.exported_to(client, default))]


@derived
def _look_at_clients(read: Read, _: str) -> bool:
    """Whether any rule looks at more of a client than its namespace: most meshes have none that does."""
    usual = mesh_config(read).traffic
    if usual is not None and usual.near is not None and usual.near.client_labels:
        return True
    return any(rule.looks_at_clients for group in read.all(DESTINATION_RULES).values() for rule in group)


@derived
def _policy(read: Read, key: tuple[ServiceName, str]) -> DestinationPolicy:
    mesh = mesh_config(read)
    found = _of_rules(read, *key)
    if mesh.traffic is None:
        return found
    return replace(found, origins=(*found.origins, mesh.origin), usual=mesh.traffic)


def _of_rules(read: Read, service: ServiceName, client: str) -> DestinationPolicy:
    own, _, name = client.partition("/")
    if name:
        for rules in _levels(read, service.fqdn, own):
            chosen = next((r for r in rules if r.name == name and r.selector is not None), None)
            if chosen is not None:
                return _merge(read, [r for r in rules if r.selector == chosen.selector])
    for namespace in _places(read, service, own):
        for rules in _levels(read, service.fqdn, namespace):
            if usable := _usable(read, rules, own):
                return _merge(read, usable)
    return NO_POLICY


def _merge(read: Read, rules: list[DestinationRule]) -> DestinationPolicy:
    """The oldest, and whoever of the others is for the same namespaces."""
    default = mesh_config(read).destination_rules_to
    same = [rule for rule in rules if rule.audience(default) == rules[0].audience(default)]
    subsets: dict[str, Subset] = {}
    for rule in same:
        for subset in rule.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((r.policy for r in same if r.policy != TrafficPolicy()), TrafficPolicy())
    return DestinationPolicy(policy, tuple(subsets.values()), tuple(r.origin for r in same))


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
