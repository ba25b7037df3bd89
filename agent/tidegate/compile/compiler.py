"""compile_plan: facts -> everything that must be true on this node. Pure and deterministic.

Order of the work is the table of contents of this room: index (registry, rules) -> destinations -> pods -> listeners
and scopes. Routes, clusters and endpoints are made when Envoy, or somebody who looks, asks for them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain

from tidegate.compile.authorization.guards import guards
from tidegate.compile.authorization.in_force import FindPolicies
from tidegate.compile.derive import Derivations, Read
from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints, passthrough
from tidegate.compile.envoy.patches.selection import Selection
from tidegate.compile.envoy.private import PASSTHROUGH
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.secrets import hosts_of_identities, secrets
from tidegate.compile.facts import Facts
from tidegate.compile.inbound.filtered import Inbound
from tidegate.compile.inbound.found import FindInbound, FoundInbound, rows
from tidegate.compile.inbound.marks import marked
from tidegate.compile.names import names_of
from tidegate.compile.outbound.checks import checks
from tidegate.compile.outbound.credentials import pod_secrets
from tidegate.compile.outbound.destinations import Claim, Destinations, FindDestinations
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.outbound.forwards import CarriedPort, forwards, with_forwards
from tidegate.compile.outbound.listeners import completed, listener_name, pod_listener, with_ranges
from tidegate.compile.outbound.routes import RouteCompiler, past
from tidegate.compile.outbound.scopes import UNKNOWN, range_scope, scope
from tidegate.compile.outbound.seen import EVERYTHING, FindScopes, Scoping, elsewhere_name, refusal, refused_elsewhere
from tidegate.compile.ranges import Member
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.tables import SERVICES
from tidegate.compile.visibility import Source, mesh_config, registry_only, sees_service, source_of
from tidegate.model.envoy_filter import EnvoyFilter
from tidegate.model.hosts import host_matches
from tidegate.model.identity import Identity, identity_of
from tidegate.model.kube import Pod
from tidegate.model.origin import Origin
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    EnvoyResource,
    MadeOnDemand,
    Resources,
    ResourcesByName,
)
from tidegate.model.plan.names import HostNames
from tidegate.model.plan.pods import PodPlan
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.routing import MESH, VirtualService
from tidegate.model.tier import Tier
from tidegate.model.workload import Sandbox

_NOBODY: Mapping[str, tuple[Identity, ...]] = {}
_NONE: Resources = {kind: {} for kind in (LISTENERS, SCOPES, ROUTES, CLUSTERS, ENDPOINTS, SECRETS, CHECKS)}


def compile_plan(facts: Facts, generation: int = 0) -> Plan:
    """What must be true on the node of these facts."""
    return Compiler().compile(facts, generation)


class Compiler:
    """Compiles one state of facts after the other, and gives back the same objects for whatever did not change."""

    def __init__(self) -> None:
        self._derivations = Derivations()
        self._named: tuple[tuple[HostNames, ...], ...] = ()
        self._names: tuple[HostNames, ...] = ()
        self._find_destinations = FindDestinations(self._derivations)
        self._find_scopes = FindScopes()
        self._find_inbound = FindInbound()
        self._find_policies = FindPolicies()
        self._passed: tuple[EnvoyFilter, ...] = ()
        self._mutual: tuple[object, frozenset[str]] = (None, frozenset())  # rules, hosts with mutual TLS of the mesh
        self._served: tuple[tuple[object, ...], Mapping[str, tuple[Identity, ...]]] = ((None,) * 5, _NOBODY)
        self._listeners: dict[Sandbox, tuple[tuple[object, ...], EnvoyResource]] = {}
        self._filtered: tuple[tuple[object, ...], Filtered] = ((), Filtered())  # what it was made of, and it
        self._scopes: dict[str, tuple[Claim, list[EnvoyResource]]] = {}
        self._checks: ResourcesByName = {}
        self._tables: dict[
            str, tuple[tuple[object, ...], ResourcesByName]
        ] = {}  # kind -> (what it was made of, the table)
        # By kind: what was made, what leads to it, and what was made with the names that follow from that.
        self._lists: dict[str, tuple[MadeOnDemand, tuple[object, ...], MadeOnDemand]] = {}
        self._routed: tuple[tuple[object, ...], dict[str, Claim], RouteCompiler] | None = None

    def compile(self, facts: Facts, generation: int = 0, passed: tuple[EnvoyFilter, ...] = ()) -> Plan:
        """What must be true on the node of these facts. passed: EnvoyFilters that are in force for what comes to pods,
        so that who dialled those before dials anew."""
        self._passed = passed
        self._derivations.change(facts.tables)
        found = self._find_destinations()
        names = self._name()
        self._derivations.forget_unused()
        any_http = any(c.tier is Tier.ENVOY for c in found.claims) or bool(_ranged(found))
        scoping = self._find_scopes(facts, found)
        inbound = self._find_inbound(facts)
        policies = self._find_policies(facts.mesh, facts.clients)
        plans = tuple(_plan(facts, s, any_http, scoping, inbound.get(s), policies) for s in facts.sandboxes)
        accounts = frozenset(identity_of(pod) for pod in facts.clients.values())
        with_envoy = tuple(s for s, p in zip(facts.sandboxes, plans, strict=True) if p.needs_envoy)
        return Plan(
            generation=generation,
            pods=plans,
            destinations=scoping.rows,
            l4=found.l4,
            services=found.numbers,
            names=names,
            views=_views(facts),
            identities=accounts if self._any_mutual(facts) else frozenset(),
            accounts=accounts,
            trust_domain=facts.mesh.config.trust_domains[0],
            policies=policies,
            envoy=self._envoy(facts, found, scoping, with_envoy, inbound) if with_envoy or inbound else _NONE,
        )

    def _any_mutual(self, facts: Facts) -> bool:
        """Whether certificates are needed, of all pods in the mesh then: a rule asks somebody for one."""
        rules = facts.mesh.destination_rules
        if self._mutual[0] is not rules:
            self._mutual = rules, hosts_of_identities(rules)
        return bool(self._mutual[1])

    def _serving(self, facts: Facts) -> Mapping[str, tuple[Identity, ...]]:
        """Who serves behind each service, if a rule makes clusters say it; the same object if nothing changed."""
        hosts = self._mutual[1]
        if not hosts:
            return _NOBODY
        made_of = (hosts, facts.pods_by_service, facts.slices_by_service, facts.workloads_by_service, facts.services)
        if not _alike(self._served[0], made_of):
            registry = Registry(facts.read)
            concerned = (s for fqdn, s in facts.services.items() if any(host_matches(host, fqdn) for host in hosts))
            found = {service.id.fqdn: registry.identities(service) for service in concerned}
            self._served = made_of, self._served[1] if found == self._served[1] else found
        return self._served[1]

    def _name(self) -> tuple[HostNames, ...]:
        named = self._derivations.each(names_of, SERVICES).ordered()
        if named is not self._named:
            self._named, self._names = named, tuple(chain.from_iterable(named))
        return self._names

    def _envoy(
        self,
        facts: Facts,
        found: Destinations,
        scoping: Scoping,
        sandboxes: tuple[Sandbox, ...],
        inbound: FoundInbound,
    ) -> Resources:
        read = facts.read
        rules = Rules(read)
        filtered = self._filters(facts, found)
        of_rules = (
            facts.services,
            facts.virtual_services,
            facts.destination_rules,
            facts.sidecars,
            facts.mesh_config,
            filtered,
        )
        clients = tuple((str(s.id), facts.pods[s.id]) for s in sandboxes)
        pods = tuple(pod for _, pod in clients)
        ranged = _ranged(found)
        carried = _forwards(facts, scoping, sandboxes, filtered)
        listeners = self._table(
            LISTENERS,
            (sandboxes, pods, facts.namespaces, filtered, carried, inbound, bool(ranged)),
            lambda: {
                **self._listen(facts, sandboxes, filtered, dict(carried), bool(ranged)),
                **{one.listener.name: one.listener for one in inbound.values()},
            },
        )
        elsewhere = scoping.elsewhere
        scopes = self._table(SCOPES, (found.claims, found.ranges, elsewhere), lambda: self._scope(found, elsewhere))
        of_routes = (found.claims, found.ranges, elsewhere, *of_rules)

        def route_compiler(before: RouteCompiler | None) -> RouteCompiler:
            sources = {name: source_of(read, pod) for name, pod in clients}
            return RouteCompiler(Registry(read), rules, sources, filtered, before)

        routes = self._table(
            ROUTES, (*of_routes, clients), lambda: self._route(read, found, elsewhere, of_routes, route_compiler)
        )

        def cluster_names() -> Iterator[str]:
            for claim in found.claims:
                if claim.tier is Tier.ENVOY:
                    yield str(ClusterKey(claim.service.id.fqdn, claim.port.port))
                    for subset in rules.policy(claim.service.id, claim.service.id.namespace).subsets:
                        yield str(ClusterKey(claim.service.id.fqdn, claim.port.port, subset.name))
                    yield from routes[claim.name].needs(CLUSTERS)
            for port in ranged:
                yield from routes[elsewhere_name(port)].needs(CLUSTERS)
            for listener in listeners.values():
                yield from listener.needs(CLUSTERS)

        passed = self._passed

        def patched_cluster(registry: Registry, rules: Rules, key: ClusterKey) -> EnvoyResource | None:
            made = cluster(registry, rules, key)
            patched = filtered.cluster(made, key) if made is not None else None
            service = registry.services.get(key.fqdn)
            port = service.port(key.port) if service else None
            if patched is None or service is None or port is None or not passed:
                return patched
            return marked(patched, passed, service, port, facts.mesh.config.root_namespace)

        def other_cluster(name: str) -> EnvoyResource | None:
            if name == PASSTHROUGH:
                return passthrough(rules.mesh)
            of_pods = (one.clusters[name] for one in inbound.values() if name in one.clusters)
            return next(of_pods, None) or filtered.other_cluster(name)

        refused = facts.mesh.refused
        written = facts.mesh.virtual_services
        rules_alone = self._table(CHECKS, (written, refused, filtered), lambda: self._check(written, refused, filtered))
        leading = (routes, listeners)
        return {
            LISTENERS: listeners,
            SCOPES: scopes,
            ROUTES: routes,
            CHECKS: rules_alone,
            CLUSTERS: self._listed(
                CLUSTERS,
                (*of_routes, inbound, passed, self._serving(facts)),
                lambda: _by_key(read, patched_cluster, other_cluster),
                (leading, cluster_names),
            ),
            ENDPOINTS: self._listed(
                ENDPOINTS,
                (*of_routes, *_of_endpoints(facts)),
                lambda: _by_key(read, endpoints),
                (leading, cluster_names),
            ),
            SECRETS: self._table(
                SECRETS,
                (facts.destination_rules, facts.mesh.secrets),
                lambda: {**secrets(read), **pod_secrets(facts.mesh.destination_rules, facts.mesh.secrets)},
            ),
        }

    def _table(self, kind: str, made_of: tuple[object, ...], make: Callable[[], ResourcesByName]) -> ResourcesByName:
        known = self._tables.get(kind)
        if known is None or not _alike(known[0], made_of):
            known = self._tables[kind] = (made_of, make())
        return known[1]

    def _listed(
        self,
        kind: str,
        made_of: tuple[object, ...],
        make: Callable[[], MadeOnDemand],
        names: tuple[tuple[object, ...], Callable[[], Iterable[str]]],
    ) -> ResourcesByName:
        """As _table, of resources that are the same whatever leads to them. names: what leads, and all names by it."""
        leading, listed = names
        made, known = self._table(kind, made_of, make), self._lists.get(kind)
        assert isinstance(made, MadeOnDemand)
        if known is None or known[0] is not made or any(a is not b for a, b in zip(known[1], leading, strict=True)):
            known = self._lists[kind] = (made, leading, made.listing(listed))
        return known[2]

    def _route(
        self,
        read: Read,
        found: Destinations,
        elsewhere: tuple[int, ...],
        made_of: tuple[object, ...],
        compiler: Callable[[RouteCompiler | None], RouteCompiler],
    ) -> ResourcesByName:
        """Route tables. compiler: makes one that takes over what one of the same made_of leaves."""
        before = self._routed
        if before is None or not _alike(before[0], made_of):
            claims = {claim.name: claim for claim in found.claims if claim.tier is Tier.ENVOY}
            before = self._routed = (made_of, claims, compiler(None))
        else:
            before = self._routed = (made_of, before[1], compiler(before[2]))
        _, claims, routes = before
        ranged = {elsewhere_name(port): (port, members) for port, members in _ranged(found).items()}
        refusals = {elsewhere_name(port) for port in elsewhere} - ranged.keys()

        def seen(members: tuple[Member, ...], source: Source) -> tuple[tuple[Member, ...], list[Json]]:
            others = refusal() if registry_only(read, source.sidecar) else past(mesh_config(read))
            return tuple(m for m in members if sees_service(read, source, m[0], m[1].port)), others

        def make(name: str) -> EnvoyResource | None:
            if name in ranged:
                port, members = ranged[name]
                return routes.elsewhere(name, port, members, lambda source: seen(members, source))
            if name in refusals:
                return refused_elsewhere(name)
            claim = claims.get(name)
            return routes.compile(claim.service, claim.port) if claim else None

        return MadeOnDemand(make, lambda: (*claims, *refusals, *ranged))

    def _filters(self, facts: Facts, found: Destinations) -> Filtered:
        """The EnvoyFilters in force; the same object as before if nothing that they look at changed."""
        mesh = facts.mesh
        root = mesh.config.root_namespace
        dialled = (found.claims, found.ranges) if mesh.envoy_filters else ((), ())
        made_of = (mesh.envoy_filters, mesh.refused_patches, root, *dialled)
        known = self._filtered
        if len(known[0]) != len(made_of) or not all(a is b for a, b in zip(known[0], made_of, strict=True)):
            of_ranges = (port for one in dialled[1] for _, port in one.members)
            ports = frozenset((p.name, p.port) for p in (*(c.port for c in dialled[0]), *of_ranges))
            self._filtered = made_of, Filtered(Selection(mesh.envoy_filters, mesh.refused_patches, root), ports)
        return self._filtered[1]

    def _listen(
        self,
        facts: Facts,
        sandboxes: tuple[Sandbox, ...],
        filtered: Filtered,
        carried: Mapping[Sandbox, tuple[CarriedPort, ...]],
        ranged: bool,
    ) -> ResourcesByName:
        known, self._listeners = self._listeners, {}
        for sandbox in sandboxes:
            if sandbox.capture.envoy4:
                pod = facts.pods[sandbox.id]
                origins = _pod_origins(facts, pod)
                source = source_of(facts.read, pod)
                chains = carried.get(sandbox, ())
                selected = filtered.of(source) if filtered else None
                secret = identity_of(pod).secret
                made_of = (origins, secret, selected, filtered.ports if filtered else None, chains, ranged)
                entry = known.get(sandbox)
                if entry is None or entry[0] != made_of:
                    made = filtered.listener(pod_listener(sandbox, origins, secret), source)
                    made = with_ranges(made, sandbox) if ranged else made
                    patch = partial(filtered.chains, source=source)
                    netns = sandbox.netns_path, sandbox.netns_cookie
                    forwarded = with_forwards(made, chains, *netns, secret, patch)
                    entry = (made_of, completed(forwarded))
                self._listeners[sandbox] = entry
        table = {listener.name: listener for _, listener in self._listeners.values()}
        return {**table, **filtered.checks.listeners}

    def _check(
        self, written: tuple[VirtualService, ...], refused: tuple[VirtualService, ...], filtered: Filtered
    ) -> ResourcesByName:
        """Of the rules for pods, and of the patches of routes."""
        here, left_out = ([vs for vs in group if MESH in vs.gateways] for group in (written, refused))
        self._checks = checks(here, left_out, self._checks)
        return {**self._checks, **filtered.checks.routes}

    def _scope(self, found: Destinations, elsewhere: tuple[int, ...]) -> ResourcesByName:
        known, self._scopes = self._scopes, {}
        for claim in found.claims:
            if claim.tier is Tier.ENVOY:
                entry = known.get(claim.name)
                if entry is None or entry[0] is not claim:
                    origins = (claim.service.origin,)
                    entry = (claim, [scope(a, claim.port.port, claim.name, origins) for a in claim.addresses])
                self._scopes[claim.name] = entry
        others = (scope(a, port, elsewhere_name(port), ()) for port in elsewhere for a in UNKNOWN)
        ranged = (
            range_scope(port, elsewhere_name(port), tuple(dict.fromkeys(service.origin for service, _ in members)))
            for port, members in _ranged(found).items()
        )
        return {item.name: item for item in (*(i for _, of in self._scopes.values() for i in of), *others, *ranged)}


def _of_endpoints(facts: Facts) -> tuple[object, ...]:
    """What decides who is behind services, and which of them are used."""
    return (
        facts.pods,
        facts.pods_by_service,
        facts.workloads_by_service,
        facts.slices_by_service,
        facts.nodes,
        facts.here,
    )


def _alike(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    return all(a is b or _same(a, b) for a, b in zip(before, now, strict=True))


def _same(before: object, now: object) -> bool:
    """Whether a tuple has the same members, or pairs of a name and the same member."""
    if not isinstance(before, tuple) or not isinstance(now, tuple) or len(before) != len(now):
        return False
    return all(a is b or a == b for a, b in zip(before, now, strict=True))


def _plan(
    facts: Facts,
    sandbox: Sandbox,
    any_http: bool,
    scoping: Scoping,
    inbound: Inbound | None,
    policies: PolicyTable,
) -> PodPlan:
    enrolled, reason = facts.enrolment(sandbox.id)
    wanted = enrolled and (any_http or sandbox.id in scoping.carried)
    name = listener_name(sandbox) if wanted else ""
    of = scoping.pods.get(sandbox.id, EVERYTHING)
    return PodPlan(
        sandbox.id,
        enrolled,
        reason,
        wanted,
        name,
        sandbox.netns_cookie,
        of.registry_only,
        of.scope,
        inbound=inbound.listener.name if inbound else "",
        inbound_ports=rows(sandbox, inbound) if inbound else frozenset(),
        guards=guards(sandbox, facts.pods[sandbox.id], policies) if enrolled else frozenset(),
    )


def _forwards(
    facts: Facts, scoping: Scoping, sandboxes: tuple[Sandbox, ...], filtered: Filtered
) -> tuple[tuple[Sandbox, tuple[CarriedPort, ...]], ...]:
    """What Envoy carries for each of these pods without looking into it, as chains of their listeners."""
    read, found = facts.read, []
    for sandbox in sandboxes:
        if claims := scoping.carried.get(sandbox.id):
            source = source_of(read, facts.pods[sandbox.id])
            found.append((sandbox, tuple(f for claim in claims for f in forwards(read, filtered, claim, source))))
    return tuple(found)


def _views(facts: Facts) -> Mapping[int, str]:
    """Pods that a Sidecar shows other names than their namespace has."""
    sources = {cookie: source_of(facts.read, pod) for cookie, pod in facts.clients.items()} if facts.sidecars else {}
    return {cookie: source.name for cookie, source in sources.items() if source.sidecar is not None}


def _ranged(found: Destinations) -> dict[int, tuple[Member, ...]]:
    """Ports of ranges that Envoy serves, each with all that may be meant there: the host tells them apart, wherever it
    was dialled, as upstream has it."""
    members: dict[int, dict[str, Member]] = {}
    for one in found.ranges:
        if one.tier is Tier.ENVOY:
            known = members.setdefault(one.port, {})
            for member in one.members:
                known.setdefault(member[0].id.fqdn, member)
    return {port: tuple(those.values()) for port, those in members.items()}


def _by_key(
    read: Read,
    make: Callable[[Registry, Rules, ClusterKey], EnvoyResource | None],
    other: Callable[[str], EnvoyResource | None] = lambda _: None,
) -> MadeOnDemand:
    registry, rules = Registry(read), Rules(read)

    def made(name: str) -> EnvoyResource | None:
        key = ClusterKey.parse(name)
        return make(registry, rules, key) if key else other(name)

    return MadeOnDemand(made)


def _pod_origins(facts: Facts, pod: Pod) -> tuple[Origin, ...]:
    namespace = facts.namespaces.get(pod.id.namespace)
    return (pod.origin, *((namespace.origin,) if namespace else ()))
