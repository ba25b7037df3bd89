"""Service ports -> Envoy route configurations.

One per (service port, what its clients may see). Virtual host "*" is the dialled service whatever the Host header
says; VirtualService hosts that are no service of the registry get virtual hosts of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s

from tidegate.compile.clusters import cluster_name
from tidegate.compile.http_action import fill_action, forward_to
from tidegate.compile.http_match import route_match
from tidegate.compile.protojson import Json
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Candidate, Rules, Source, candidates, looks_at_source
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Service, ServicePort
from tidegate.model.names import ServiceName
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.routing import RouteTarget, VirtualService
from tidegate.model.traffic import ConsistentHash

_DEFAULT_BODY_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """A cluster that some route leads to."""

    fqdn: str
    port: int
    scope: str
    chosen: bool = False  # of a headless service, for clients that dialled another one


@dataclass(frozen=True, slots=True)
class _View:
    """A service port as one client sees it, and the clusters found on the way."""

    service: Service
    port: ServicePort
    source: Source
    uses: set[ClusterKey] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Compiled:
    resource: EnvoyResource
    uses: frozenset[ClusterKey]


class RouteCompiler:
    """Makes the route configurations of one config; remembers what it made."""

    def __init__(self, registry: Registry, rules: Rules) -> None:
        self._registry = registry
        self._rules = rules
        self._foreign = foreign_hosts(registry, rules)
        self._made: dict[tuple[str, int, str, tuple[tuple[str, str], ...]], Compiled] = {}
        self._neutral: dict[tuple[str, int], Compiled] = {}
        self._label_keys = frozenset(k for vs in rules.virtual_services for k in looks_at_source(vs)[0])

    def compile(self, service: Service, port: ServicePort, source: Source) -> Compiled:
        """What a client sees at a service port. Named FQDN:PORT, with @HASH where that is not what everybody sees."""
        labels = tuple((k, v) for k, v in sorted(source.labels.items()) if k in self._label_keys)
        key = (service.id.fqdn, port.port, source.namespace, labels)
        if key not in self._made:
            self._made[key] = self._distinguish(service, port, Source(source.namespace, dict(labels)))
        return self._made[key]

    def _distinguish(self, service: Service, port: ServicePort, source: Source) -> Compiled:
        name = f"{service.id.fqdn}:{port.port}"
        place = (service.id.fqdn, port.port)
        if place not in self._neutral:
            self._neutral[place] = self._compile(name, service, port, Source(service.id.namespace))
        neutral = self._neutral[place]
        if source == Source(service.id.namespace) or not self._depends_on_source(service, source):
            return neutral
        mine = self._compile(name, service, port, source)
        if mine.resource.body == neutral.resource.body:
            return neutral
        # The name depends on the client and not on the routes, so that editing a route keeps the listener as it is.
        facts = repr((source.namespace, sorted(source.labels.items())))
        return self._compile(f"{name}@{blake2s(facts.encode(), digest_size=6).hexdigest()}", service, port, source)

    def _depends_on_source(self, service: Service, source: Source) -> bool:
        """Quick look whether compiling again could give anything else."""
        for vs in (*self._rules.owners(service.id.fqdn), *self._foreign.values()):
            if looks_at_source(vs) != (frozenset(), False):
                return True
        targets = [service.id, *self._targets(service)]
        return any(self._rules.policy_scope(t, source.namespace) for t in targets)

    def _targets(self, service: Service) -> list[ServiceName]:
        out = []
        for vs in (*self._rules.owners(service.id.fqdn), *self._foreign.values()):
            for route in vs.http:
                for target in (*(w.target for w in route.targets), *(m.target for m in route.mirrors)):
                    found = self._registry.services.get(target.host)
                    if found is not None:
                        out.append(found.id)
        return out

    def _compile(self, name: str, service: Service, port: ServicePort, source: Source) -> Compiled:
        view = _View(service, port, source)
        owner = self._rules.owner(service.id.fqdn, source.namespace)
        hosts = [_virtual_host(service.id.fqdn, port, "*", self._routes(view, owner))]
        shown = [owner] if owner else []
        for host in sorted(self._foreign):
            vs = self._rules.owner(host, source.namespace)
            routes = self._rule_routes(view, vs) if vs else []
            if vs and routes:
                shown.append(vs)
                hosts.append(_virtual_host(host, port, f"[{host}]" if ":" in host else host, routes))
        body: Json = {
            "name": name,
            "virtual_hosts": hosts,
            "validate_clusters": False,
            "ignore_port_in_host_matching": True,
        }
        bodies = [len(r.direct_response.body) for vs in shown for r in vs.http if r.direct_response is not None]
        if max(bodies, default=0) > _DEFAULT_BODY_LIMIT:
            body["max_direct_response_body_size_bytes"] = max(bodies) * 4  # bytes of UTF-8, at most four a character
        origins = dict.fromkeys((service.origin, *(vs.origin for vs in shown)))
        return Compiled(EnvoyResource(name, body, tuple(origins)), frozenset(view.uses))

    def _routes(self, view: _View, owner: VirtualService | None) -> list[Json]:
        """The owner's routes; without any that applies here, straight to the service."""
        routes = self._rule_routes(view, owner) if owner is not None else []
        if routes:
            return routes
        fqdn = view.service.id.fqdn
        target = RouteTarget(fqdn, view.port.port)
        forward = forward_to(self._cluster(view, target), self._hash(view, target))
        operation = f"{fqdn}:{view.port.port}/*"
        return [{"name": "default", "match": {"prefix": "/"}, "route": forward, "decorator": {"operation": operation}}]

    def _rule_routes(self, view: _View, vs: VirtualService) -> list[Json]:
        return [self._route(view, vs, c) for c in candidates(vs, view.source, view.port.port)]

    def _route(self, view: _View, vs: VirtualService, candidate: Candidate) -> Json:
        route, match = candidate.route, candidate.match
        out: Json = {"name": route_name(vs, candidate), "match": route_match(match)}
        fill_action(
            out,
            route,
            view.port.port,
            lambda target: self._cluster(view, target),
            lambda target: self._hash(view, target),
        )
        path = f"/apis/networking.istio.io/v1/namespaces/{vs.namespace}/virtual-service/{vs.name}"
        out["metadata"] = {"filter_metadata": {"istio": {"config": path}}}
        host = route.targets[0].target.host if len(route.targets) == 1 else vs.name
        out["decorator"] = {"operation": f"{host}:{view.port.port}/*"}
        if match is not None and match.stat_prefix:
            out["stat_prefix"] = match.stat_prefix
        return out

    def _cluster(self, view: _View, target: RouteTarget) -> str:
        """Name of the cluster of a target. An unknown service or subset has a name too: Envoy answers 503 for it."""
        number = target_number(self._registry, target, view.port.port)
        found = self._registry.services.get(target.host)
        scope = self._rules.policy_scope(found.id, view.source.namespace) if found else ""
        chosen = found is not None and routed_to_headless(found, number, target.subset, view.service, view.port)
        if found is not None:
            view.uses.add(ClusterKey(target.host, number, scope, chosen))
        return cluster_name(target.host, number, target.subset, scope, chosen)

    def _hash(self, view: _View, target: RouteTarget) -> ConsistentHash | None:
        found = self._registry.services.get(target.host)
        if found is None:
            return None
        number = target_number(self._registry, target, view.port.port)
        policy = self._rules.policy(found.id, view.source.namespace).for_port(number, target.subset)
        return policy.load_balancer.hash if policy.load_balancer else None


def routed_to_headless(target: Service, number: int, subset: str, dialled: Service, port: ServicePort) -> bool:
    """Whether Envoy has to choose a pod of a headless service, because what the client dialled is none of its pods."""
    return target.headless and not subset and (target.id, number) != (dialled.id, port.port)


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


def _virtual_host(host: str, port: ServicePort, domain: str, routes: list[Json]) -> Json:
    return {"name": f"{host}:{port.port}", "domains": [domain], "routes": routes}
