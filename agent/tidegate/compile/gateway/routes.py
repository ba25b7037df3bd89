"""VirtualServices of a gateway's HTTP servers -> Envoy route configurations. Pure.

A port of plain HTTP has one configuration, each server that ends TLS its own: after the handshake the name that the
client asked for there counts. The virtual hosts are what a VirtualService's hosts and a server's hosts have in common.
Routes of several VirtualServices for one host stand behind each other, the oldest first, and whoever takes every
request comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import fill_action
from tidegate.compile.envoy.http_match import route_match
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.gateway.http import spared
from tidegate.compile.gateway.ports import GatewayPort, Served
from tidegate.compile.outbound.routes import body_limit, route_name, target_number
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Candidate, Rules, balancer, with_defaults
from tidegate.compile.visibility import Source
from tidegate.model.gateway import GatewayWorkload, gateway_ref
from tidegate.model.hosts import overlap
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.routing import HttpMatch, RouteTarget, VirtualService
from tidegate.model.selectors import selects
from tidegate.model.traffic import ConsistentHash


@dataclass(slots=True)
class HostOfPort:
    """One virtual host: who says what becomes of its requests."""

    rules: dict[tuple[str, str], tuple[VirtualService, set[str]]] = field(default_factory=dict)  # with gateways' names
    redirect: bool = False
    origins: list[Origin] = field(default_factory=list)  # of the Gateways

    def ordered(self) -> list[tuple[VirtualService, set[str]]]:
        """The rules, the oldest first."""
        return sorted(self.rules.values(), key=lambda found: (found[0].age, found[0].name, found[0].namespace))


def source_at(workload: GatewayWorkload) -> Source:
    """A gateway as a client. Sidecars are for pods that are captured."""
    return Source(workload.namespace, workload.labels)


def plain_name(port: GatewayPort) -> str:
    """Istio's name of the routes of a port of plain HTTP."""
    return f"http.{port.number}{_bound(port.bind)}"


def secure_name(served: Served) -> str:
    """Istio's name of the routes of a server that ends TLS."""
    server, gateway = served.server, served.gateway
    return f"https.{server.port}.{server.port_name}.{gateway.name}.{gateway.namespace}{_bound(server.bind)}"


def _bound(bind: str) -> str:
    return f".{bind}" if bind else ""


# VirtualServices by the gateway that they name, the oldest first.
RulesByGateway = Mapping[str, Sequence[VirtualService]]


def by_gateway(rules: Iterable[VirtualService]) -> RulesByGateway:
    """Rules by each gateway that they name, in the order given."""
    found: dict[str, list[VirtualService]] = {}
    for vs in rules:
        for ref in {gateway_ref(name, vs.namespace) for name in vs.gateways}:
            found.setdefault(ref, []).append(vs)
    return found


def rules_at(rules: RulesByGateway, served: Served) -> Iterator[tuple[VirtualService, list[str]]]:
    """VirtualServices that a server is for, each with the hosts that both have."""
    for vs in rules.get(served.gateway.ref, ()):
        open_to = [h.host for h in served.server.hosts if h.namespace in ("*", vs.namespace)]
        both = [found for mine in open_to for other in vs.hosts if (found := overlap(mine, other))]
        if both:
            yield vs, list(dict.fromkeys(both))


def hosts_of(rules: RulesByGateway, servers: Sequence[Served]) -> dict[str, HostOfPort]:
    """The virtual hosts of one route configuration, by domain."""
    found: dict[str, HostOfPort] = {}
    for served in servers:
        for vs, hosts in rules_at(rules, served):
            for host in hosts:
                entry = found.setdefault(host, HostOfPort())
                entry.rules.setdefault((vs.namespace, vs.name), (vs, set()))[1].add(served.gateway.ref)
                _note(entry, served)
        if served.server.redirect:
            for one in served.server.hosts:
                _note(found.setdefault(one.host, HostOfPort()), served)
    return found


def _note(entry: HostOfPort, served: Served) -> None:
    entry.redirect |= served.server.redirect
    if served.gateway.origin not in entry.origins:
        entry.origins.append(served.gateway.origin)


def candidates_at(vs: VirtualService, gateways: set[str], workload: GatewayWorkload, port: int) -> Iterator[Candidate]:
    """The routes of a VirtualService that hold at these gateways and this port, in order, up to the first catch-all."""
    for index, route in enumerate(vs.http):
        if not route.matches:
            yield Candidate(index, route, -1, None)
            return
        for match_index, match in enumerate(route.matches):
            if not _holds(match, vs, gateways, workload, port):
                continue
            yield Candidate(index, route, match_index, match)
            if match.catches_all:
                return


def _holds(match: HttpMatch, vs: VirtualService, gateways: set[str], workload: GatewayWorkload, port: int) -> bool:
    if match.port and match.port != port:
        return False
    if match.gateways:  # then conditions on the source are not looked at
        return not gateways.isdisjoint(gateway_ref(name, vs.namespace) for name in match.gateways)
    if match.source_namespace and match.source_namespace != workload.namespace:
        return False
    return selects(match.source_labels, workload.labels)


class GatewayRoutes:
    """Makes the route configurations of one workload."""

    def __init__(self, registry: Registry, policies: Rules, rules: RulesByGateway, workload: GatewayWorkload) -> None:
        """rules: every VirtualService that the workload may see."""
        self._registry = registry
        self._policies = policies
        self._rules = rules
        self._workload = workload

    def compile(self, name: str, port: int, servers: Sequence[Served]) -> EnvoyResource:
        """The route configuration of some servers of a port."""
        uses: set[ClusterKey] = set()
        origins: dict[Origin, None] = {}
        shown: dict[int, VirtualService] = {}
        hosts = []
        scheme = "https" if any(served.server.ends_tls for served in servers) else "http"
        for domain, entry in sorted(hosts_of(self._rules, servers).items()):
            made: list[tuple[bool, Json]] = []
            for vs, gateways in entry.ordered():
                shown[id(vs)] = vs
                for candidate in candidates_at(vs, gateways, self._workload, port):
                    last = candidate.match is None or candidate.match.catches_all
                    made.append((last, self._route(vs, candidate, (port, scheme), uses)))
            origins.update(dict.fromkeys((*entry.origins, *(o for vs, _ in entry.ordered() for o in vs.origins))))
            host: Json = {
                "name": f"{domain}:{port}",
                "domains": [f"[{domain}]" if ":" in domain else domain],
                "routes": [route for last, route in sorted(made, key=lambda item: item[0])],
            }
            if entry.redirect:
                host["require_tls"] = "ALL"
            hosts.append(host)
        body: Json = {
            "name": name,
            "virtual_hosts": hosts,
            "typed_per_filter_config": spared(),
            "validate_clusters": False,
            "ignore_port_in_host_matching": True,
            **body_limit(shown.values()),
        }
        refs = frozenset(ResourceRef(CLUSTERS, str(key)) for key in uses)
        return EnvoyResource(name, body, tuple(origins), refs)

    def _route(self, vs: VirtualService, candidate: Candidate, dialled: tuple[int, str], uses: set[ClusterKey]) -> Json:
        """dialled: the port, and by which scheme it is asked."""
        port, scheme = dialled
        out: Json = {"name": route_name(vs, candidate), "match": route_match(candidate.match)}

        def cluster(target: RouteTarget) -> str:
            key = self.cluster_key(target, port)
            uses.add(key)
            return str(key)

        route = with_defaults(candidate.route, self._policies.mesh)
        fill_action(out, route, port, cluster, lambda target: self._hash(target, port), scheme)
        path = f"/apis/networking.istio.io/v1/namespaces/{vs.namespace}/virtual-service/{vs.name}"
        out["metadata"] = {"filter_metadata": {"istio": {"config": path}}}
        targets = candidate.route.targets
        out["decorator"] = {"operation": f"{targets[0].target.host if len(targets) == 1 else vs.name}:{port}/*"}
        if candidate.match is not None and candidate.match.stat_prefix:
            out["stat_prefix"] = candidate.match.stat_prefix
        return out

    def cluster_key(self, target: RouteTarget, port: int) -> ClusterKey:
        """The cluster of a target. An unknown service or subset has one too: Envoy answers 503 for it."""
        target = self._registry.behind(target)
        found = self._registry.services.get(target.host)
        client = self._policies.policy_scope(found.id, source_at(self._workload)) if found else ""
        # Nobody dialled one of the pods of a headless service here, or the address of somebody: Envoy has to choose.
        chosen_here = found is not None and ((found.headless and not target.subset) or found.as_dialled)
        return ClusterKey(target.host, target_number(self._registry, target, port), target.subset, client, chosen_here)

    def _hash(self, target: RouteTarget, port: int) -> ConsistentHash | None:
        target = self._registry.behind(target)
        found = self._registry.services.get(target.host)
        if found is None:
            return None
        number = target_number(self._registry, target, port)
        policy = self._policies.policy_of(found.id, source_at(self._workload)).for_port(number, target.subset)
        chosen = balancer(found, policy, self._policies.mesh)
        return chosen.hash if chosen and chosen.hash and chosen.hash.by_request else None
