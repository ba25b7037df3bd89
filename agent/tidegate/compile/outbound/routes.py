"""Service ports -> Envoy route configurations, one per port, whoever asks.

A request reaches the configuration of the service that was dialled by the address (scopes.py), so virtual hosts only
tell apart who asks and for which host. They are chosen by header VIRTUAL_HOST, CLIENT]HOST, of which the listener sets
both parts: a client whose routes are everybody's needs no virtual host of its own. Pure, one service port at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from tidegate.compile.envoy import private
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.filters import spared
from tidegate.compile.envoy.http_action import fill_action, forward_to, keeps_path, say_dialled, say_host
from tidegate.compile.envoy.http_match import authority_match, route_match, tunnelled
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.explain.requests import fits
from tidegate.compile.outbound.aliases import Aliases, aliases, spellings
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.ranges import Member
from tidegate.compile.registry import Registry, routed_to_headless
from tidegate.compile.rules import Candidate, Rules, balancer, candidates, looks_at_source, with_defaults
from tidegate.compile.visibility import Source
from tidegate.model.hosts import host_matches, specificity
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.mesh_config import MeshConfig
from tidegate.model.names import ServiceName
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.routing import RouteTarget, VirtualService
from tidegate.model.traffic import ConsistentHash

_DEFAULT_BODY_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class _Asked:
    """A service port as one client sees it, and the clusters found on the way."""

    service: Service
    port: ServicePort
    source: Source
    uses: set[ClusterKey] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class SeenRoutes:
    """Routes as one client gets them, the rule that they are of, and the clusters that they lead to."""

    routes: list[Json]
    owner: VirtualService | None
    uses: frozenset[ClusterKey]


@dataclass(slots=True)
class _Answer:
    """What a client gets at a service port: routes by host, "" = whatever host is asked for."""

    hosts: dict[str, list[Json]]
    shown: list[VirtualService]
    uses: set[ClusterKey]
    extra: dict[str, Json] = field(default_factory=dict)  # by host: what EnvoyFilters add to its virtual host
    filters: tuple[Origin, ...] = ()  # the EnvoyFilters

    def same(self, other: _Answer) -> bool:
        """Whether two clients can share virtual hosts."""
        return self.hosts == other.hosts and self.extra == other.extra


# What a client sees of the members of a range, and the routes of requests for any other host.
SeenFrom = Callable[[Source], tuple[Sequence[Member], Sequence[Json]]]


def body_limit(rules: Iterable[VirtualService]) -> Json:
    """The limit of direct responses, where the default one is too low for these rules."""
    answers = (r.direct_response for vs in rules for r in vs.http if r.direct_response is not None)
    longest = max((len(a.body.encode()) + len(a.body_bytes) for a in answers), default=0)
    return {"max_direct_response_body_size_bytes": longest} if longest > _DEFAULT_BODY_LIMIT else {}


class RouteCompiler:
    """Makes route configurations. clients: name and source of each pod that has a listener on this node."""

    def __init__(
        self,
        registry: Registry,
        rules: Rules,
        clients: Mapping[str, Source] | None = None,
        filtered: Filtered | None = None,
        before: RouteCompiler | None = None,
    ) -> None:
        """before: one of the same services, rules and filters for other clients. What it made and a pod that comes or
        goes cannot change is kept: there is much of that, and pods come and go often."""
        self._registry = registry
        self._rules = rules
        self._clients = clients or {}
        self._filtered = filtered or Filtered()
        namespaces, sidecars = (
            (c.namespace for c in self._clients.values()),
            (c.sidecar for c in self._clients.values()),
        )
        self._who = frozenset(namespaces), any(sidecar is not None for sidecar in sidecars)
        kept = before is not None and before._who == self._who
        self._for_everybody: dict[str, EnvoyResource] = before._for_everybody if before and kept else {}
        self._foreign: dict[str, VirtualService] = before._foreign if before else foreign_hosts(registry, rules)
        self._aliases: Aliases = before._aliases if before else aliases(registry, rules)
        self._plain_foreign = [h for h in sorted(self._foreign) if not h.startswith("*")]
        self._wild_foreign = sorted((h for h in self._foreign if h.startswith("*")), key=specificity)

    def for_client(self, service: Service, port: ServicePort, source: Source, host: str = "") -> SeenRoutes:
        """What one client gets at a service port, or there for a host that is no service (one of foreign_hosts())."""
        asked = _Asked(service, port, source)
        owner = self._rules.owner(host or service.id.fqdn, source, port.port)
        routes = (self._rule_routes(asked, owner) if owner else []) if host else self._routes(asked, owner)
        return SeenRoutes(routes, owner, frozenset(asked.uses))

    def compile(self, service: Service, port: ServicePort) -> EnvoyResource:
        """The route configuration of a service port: what everybody gets, and what single clients get instead."""
        name = f"{service.id.fqdn}:{port.port}"
        if (kept := self._for_everybody.get(name)) is not None:
            return kept
        everybody = self._answer(service, port, Source(service.id.namespace))
        answers: list[tuple[_Answer, list[str]]] = [(everybody, [])]
        looks = self._depends_on_source(service)
        if looks:
            keys = self._label_keys(service)
            answers += self._other_answers(everybody, keys, lambda source: self._answer(service, port, source))
        made = self._configuration(name, answers, (service.origin,))
        if not looks:
            self._for_everybody[name] = made
        return made

    def _configuration(
        self, name: str, answers: list[tuple[_Answer, list[str]]], origins: tuple[Origin, ...]
    ) -> EnvoyResource:
        """What everybody gets comes first."""
        everybody = answers[0][0]
        hosts = [
            host
            for number, (answer, clients) in enumerate(answers)
            for host in _virtual_hosts(name, answer, clients, everybody, number)
        ]
        body: Json = {
            "name": name,
            "virtual_hosts": hosts,
            "vhost_header": private.VIRTUAL_HOST,
            "request_headers_to_remove": list(private.PRIVATE_HEADERS),
            "typed_per_filter_config": spared(),
            "validate_clusters": False,
            "ignore_port_in_host_matching": True,
        }
        shown = list(dict.fromkeys(o for answer, _ in answers for vs in answer.shown for o in vs.origins))
        filters = dict.fromkeys(origin for answer, _ in answers for origin in answer.filters)
        body.update(body_limit(vs for answer, _ in answers for vs in answer.shown))
        refs = frozenset(ResourceRef(CLUSTERS, str(key)) for answer, _ in answers for key in answer.uses)
        if any(_leads_past(answer) for answer, _ in answers):
            refs |= {ResourceRef(CLUSTERS, private.PASSTHROUGH)}
        return EnvoyResource(name, body, (*origins, *shown, *filters), refs)

    def elsewhere(self, name: str, number: int, members: Sequence[Member], seen: SeenFrom) -> EnvoyResource:
        """The route configuration of a port of all ranges. name: its name; members: who may be meant there, told apart
        by the host that is asked for; seen: what of them exists for a client, and what becomes of all other hosts."""
        nobody = Service(ServiceName("", "*", "*"), origin=members[0][0].origin)
        port = ServicePort(number, protocol=Protocol.HTTP)

        def answer(source: Source) -> _Answer:
            return self._answer_elsewhere(_Asked(nobody, port, source), name, *seen(source))

        everybody = answer(Source(members[0][0].id.namespace))
        keys = frozenset().union(*(self._label_keys(service) for service, _ in members))
        answers: list[tuple[_Answer, list[str]]] = [(everybody, [])]
        answers += self._other_answers(everybody, keys, answer)
        return self._configuration(name, answers, tuple(dict.fromkeys(service.origin for service, _ in members)))

    def _answer_elsewhere(self, asked: _Asked, name: str, members: Sequence[Member], others: Sequence[Json]) -> _Answer:
        number, source = asked.port.port, asked.source
        found: dict[str, list[Json]] = {}
        shown: list[VirtualService] = []
        for service, port in members:
            host = service.id.fqdn
            vs = self._rules.owner(host, source, number)
            found[host] = self._routes(_Asked(service, port, source, asked.uses), vs)
            shown += [vs] if vs else []
        for host in (*self._plain_foreign, *self._wild_foreign):
            vs = self._rules.owner(host, source, number)
            routes = self._rule_routes(asked, vs) if vs and host not in found else []
            if vs and routes:
                shown.append(vs)
                found[f"[{host}]" if ":" in host else host] = routes
        wild = [r for h in sorted(found, key=specificity) if h.startswith("*") for r in _under_host(h, found[h], name)]
        hosts = {
            "": [*wild, *deepcopy(list(others))],
            **{h: routes for h, routes in found.items() if not h.startswith("*")},
        }
        hosts[private.NO_HOST] = [say_dialled(route) for route in deepcopy(list(others))]
        changed, extra, filters = self._filtered.hosts(hosts, name, number, source)
        return _Answer(changed, shown, asked.uses, extra, filters)

    def _other_answers(
        self, everybody: _Answer, keys: frozenset[str], answer_of: Callable[[Source], _Answer]
    ) -> list[tuple[_Answer, list[str]]]:
        """Answers that differ from everybody's, each with the clients that get it. keys: labels that may matter."""
        out: list[tuple[_Answer, list[str]]] = []
        by_source: dict[tuple[object, ...], _Answer] = {}
        for client, source in self._clients.items():
            labels = tuple((k, v) for k, v in sorted(source.labels.items()) if k in keys)
            asks = (source.view, labels, self._filtered.concerns_routes(source))
            answer = by_source.get(asks)
            if answer is None:
                answer = by_source[asks] = answer_of(source)
            if answer.same(everybody):
                continue
            same = next((clients for known, clients in out if known.same(answer)), None)
            if same is None:
                out.append((answer, [client]))
            else:
                same.append(client)
        return out

    def _owners(self, service: Service) -> list[VirtualService]:
        behind = (vs for alias in self._aliases.get(service.id.fqdn, ()) for vs in self._rules.owners(alias.fqdn))
        beside = (
            vs for p in service.tcp_ports for h in self._registry.beside(service, p) for vs in self._rules.owners(h)
        )
        return [*self._rules.owners(service.id.fqdn), *self._foreign.values(), *behind, *beside]

    def _label_keys(self, service: Service) -> frozenset[str]:
        of_routes = (k for vs in self._owners(service) for k in looks_at_source(vs, self._rules.mesh)[0])
        return frozenset(of_routes) | self._label_keys_of_policies(service)

    def _label_keys_of_policies(self, service: Service) -> frozenset[str]:
        targets = {service.id, *self._targets(service)}
        namespaces = {source.namespace for source in self._clients.values()}
        return frozenset().union(*(self._rules.labels_compared(t, n) for t in targets for n in namespaces))

    def _depends_on_source(self, service: Service) -> bool:
        """Quick look whether clients could get anything but what everybody gets."""
        if self._filtered or service.id.fqdn in self._aliases:
            return True  # the short name of an alias means it in its own namespace only
        namespaces, sidecars = self._who
        if sidecars:
            return True
        if any(looks_at_source(vs, self._rules.mesh) != (frozenset(), False) for vs in self._owners(service)):
            return True
        if self._label_keys_of_policies(service):
            return True
        targets = [service.id, *self._targets(service)]
        return any(self._rules.policy_scope(t, Source(namespace)) for t in targets for namespace in namespaces)

    def _targets(self, service: Service) -> list[ServiceName]:
        out = []
        for vs in self._owners(service):
            for route in vs.http:
                for target in (*(w.target for w in route.targets), *(m.target for m in route.mirrors)):
                    found = self._registry.services.get(self._registry.behind(target).host)
                    if found is not None:
                        out.append(found.id)
        return out

    def _answer(self, service: Service, port: ServicePort, source: Source) -> _Answer:
        asked = _Asked(service, port, source)
        fqdn = service.id.fqdn
        owner = self._rules.owner(fqdn, source, port.port)
        shown = [owner] if owner else []
        # A virtual host has one wildcard, which the client's name takes up: wildcard hosts are told apart by routes.
        wild: list[Json] = []
        for host in self._wild_foreign:
            vs = self._rules.owner(host, source, port.port)
            routes = self._rule_routes(asked, vs) if vs else []
            if vs and routes:
                shown.append(vs)
                wild += _under_host(host, routes, f"{service.id.fqdn}:{port.port}")
        hosts = {"": wild + self._routes(asked, owner)}
        for host in self._plain_foreign:
            vs = self._rules.owner(host, source, port.port)
            routes = self._rule_routes(asked, vs) if vs else []
            if vs and routes:
                shown.append(vs)
                hosts[f"[{host}]" if ":" in host else host] = routes
        for alias in self._aliases.get(fqdn, ()):
            vs = self._rules.owner(alias.fqdn, source, port.port)
            routes = self._rule_routes(asked, vs) if vs else []
            if vs and routes:
                shown.append(vs)
                for host in spellings(alias, source.namespace):
                    hosts.setdefault(host, routes)
        for host, (other, at) in self._registry.beside(service, port).items():
            vs = self._rules.owner(host, source, port.port)
            hosts.setdefault(host, self._routes(_Asked(other, at, source, asked.uses), vs))
            shown += [vs] if vs else []
        hosts[private.NO_HOST] = [say_host(r, fqdn) for r in self._routes(asked, owner, as_host=fqdn)]
        name = f"{fqdn}:{port.port}"
        changed, extra, filters = self._filtered.hosts(hosts, name, port.port, source)
        return _Answer(changed, shown, asked.uses, extra, filters)

    def _routes(self, asked: _Asked, owner: VirtualService | None, as_host: str = "") -> list[Json]:
        """The owner's routes; without any that applies here, straight to the service."""
        if owner is not None and next(candidates(owner, asked.source, asked.port.port), None) is not None:
            return self._rule_routes(asked, owner, as_host)
        return [self._default(asked, match) for match in (route_match(None), tunnelled(None)) if match is not None]

    def _default(self, asked: _Asked, match: Json) -> Json:
        name = f"{asked.service.id.fqdn}:{asked.port.port}"
        target = RouteTarget(asked.service.id.fqdn, asked.port.port)
        retries = self._rules.mesh.default_retries
        forward = forward_to(self._cluster(asked, target), self._hash(asked, target), retries)
        return {"name": "default", "match": match, "route": forward, "decorator": {"operation": f"{name}/*"}}

    def _rule_routes(self, asked: _Asked, vs: VirtualService, as_host: str = "") -> list[Json]:
        """as_host: the host that requests for these routes count as, decided here instead of by Envoy."""
        made = []
        for candidate in candidates(vs, asked.source, asked.port.port):
            told = _told_host(candidate, as_host) if as_host else candidate
            if told is not None:
                made.append(self._route(asked, vs, told, route_match(told.match)))
                if keeps_path(told.route) and (match := tunnelled(told.match)) is not None:
                    made.append(self._route(asked, vs, told, match))
        return made

    def _route(self, asked: _Asked, vs: VirtualService, candidate: Candidate, conditions: Json) -> Json:
        route, match = with_defaults(candidate.route, self._rules.mesh), candidate.match
        out: Json = {"name": route_name(vs, candidate), "match": conditions}
        fill_action(
            out,
            route,
            asked.port.port,
            lambda target: self._cluster(asked, target),
            lambda target: self._hash(asked, target),
        )
        by = route.origin or vs  # of a delegate
        path = f"/apis/networking.istio.io/v1/namespaces/{by.namespace}/virtual-service/{by.name}"
        out["metadata"] = {"filter_metadata": {"istio": {"config": path}}}
        host = route.targets[0].target.host if len(route.targets) == 1 else vs.name
        out["decorator"] = {"operation": f"{host}:{asked.port.port}/*"}
        if match is not None and match.stat_prefix:
            out["stat_prefix"] = match.stat_prefix
        return out

    def _cluster(self, asked: _Asked, target: RouteTarget) -> str:
        """Name of the cluster of a target. An unknown service or subset has a name too: Envoy answers 503 for it."""
        target = self._registry.behind(target)
        number = target_number(self._registry, target, asked.port.port)
        found = self._registry.services.get(target.host)
        client = self._rules.policy_scope(found.id, asked.source) if found else ""
        lb_headless = found is not None and routed_to_headless(found, number, target.subset, asked.service, asked.port)
        key = ClusterKey(target.host, number, target.subset, client, lb_headless)
        if ClusterKey.parse(str(key)) != key:
            return (
                private.NOWHERE
            )  # no DestinationRule can define such a subset, and its name would mean another cluster
        key = self._filtered.cluster_key(key, asked.source)
        asked.uses.add(key)
        return str(key)

    def _hash(self, asked: _Asked, target: RouteTarget) -> ConsistentHash | None:
        target = self._registry.behind(target)
        found = self._registry.services.get(target.host)
        if found is None:
            return None
        number = target_number(self._registry, target, asked.port.port)
        policy = self._rules.policy_of(found.id, asked.source).for_port(number, target.subset)
        chosen = balancer(found, policy, self._rules.mesh)
        return chosen.hash if chosen and chosen.hash and chosen.hash.by_request else None


def _leads_past(answer: _Answer) -> bool:
    """Whether it leads anybody to whom nobody in the registry has."""
    return any(
        r.get("route", {}).get("cluster") == private.PASSTHROUGH for routes in answer.hosts.values() for r in routes
    )


def past(mesh: MeshConfig) -> list[Json]:
    """Routes to whoever was dialled."""
    forward = forward_to(private.PASSTHROUGH, None, mesh.default_retries)
    matches = (route_match(None), tunnelled(None))
    return [{"name": "allow_any", "match": match, "route": dict(forward)} for match in matches if match is not None]


def _told_host(candidate: Candidate, host: str) -> Candidate | None:
    """The candidate for requests of one known host; None if it is not for them."""
    match = candidate.match
    if match is None or match.authority is None:
        return candidate
    return replace(candidate, match=replace(match, authority=None)) if fits(match.authority, host) else None


def _under_host(pattern: str, routes: list[Json], name: str) -> list[Json]:
    """Routes that hold for the hosts of a wildcard only; what none of them takes is not found, as in a virtual host."""
    condition = authority_match(pattern)
    for route in routes:
        route["match"].setdefault("headers", []).append(condition)
    rest = {
        "name": f"{pattern}:none",
        "match": {"prefix": "/", "headers": [condition]},
        "direct_response": {"status": 404},
        "decorator": {"operation": f"{name}/*"},
    }
    return [*routes, rest]


def _virtual_hosts(name: str, answer: _Answer, clients: list[str], everybody: _Answer, number: int) -> list[Json]:
    """The virtual hosts of one answer. Without clients it is everybody's."""
    out: list[Json] = []
    suffix = f"@{number}" if clients else ""
    for host, routes in answer.hosts.items():
        if not clients:
            domains = [f"*]{host}"] if host else ["*"]
        elif host:
            domains = [f"{client}]{host}" for client in clients]
        else:
            # A host that everybody but these clients finds would be found by its end before their names are looked at.
            hidden = [h for h in everybody.hosts if h and h not in answer.hosts]
            domains = [f"{client}]{h}" for client in clients for h in ("*", *hidden)]
        out.append(
            {
                "name": f"{host or name}{suffix}" if not host else f"{host}:{name.rpartition(':')[2]}{suffix}",
                "domains": domains,
                "metadata": {"filter_metadata": {private.METADATA: {private.SERVICE: name}}},
                "routes": routes,
                **{k: v for k, v in answer.extra.get(host, {}).items() if k != "metadata"},
            }
        )
    return out


def foreign_hosts(registry: Registry, rules: Rules) -> dict[str, VirtualService]:
    """Hosts of VirtualServices that no service of the registry has, each with the oldest one.

    A wildcard that covers a service is none of them: the dialled address says which service is meant.
    """
    out: dict[str, VirtualService] = {}
    for vs in rules.virtual_services:
        for host in vs.hosts:
            if host.startswith("*"):
                foreign = not any(host_matches(host, fqdn) for fqdn in registry.services)
            else:
                foreign = host not in registry.services
            if foreign:
                out.setdefault(host, vs)
    return out


def target_number(registry: Registry, target: RouteTarget, dialled: int) -> int:
    """Port of a target: the written one, else the only port of the service, else the dialled one."""
    found = registry.services.get(target.host)
    ports = found.tcp_ports if found else ()
    return target.port or (ports[0].port if len(ports) == 1 else dialled)


def route_name(vs: VirtualService, candidate: Candidate) -> str:
    """How a route is called in Envoy, access logs and explain: its own name, else namespace/name[index]."""
    route, match = candidate.route, candidate.match
    if not route.name:
        return f"{vs.namespace}/{vs.name}[{candidate.route_index}]"
    return f"{route.name}.{match.name}" if match is not None and match.name else route.name
