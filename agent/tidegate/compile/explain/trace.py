"""explain: what happens to one connection or request of one pod, hook by hook and rule by rule, and why.

It asks the oracle of the connect hook, the claims, rules and clusters that the plan is made of, and the oracle of
requests for the route. Everything is looked up by key in the facts: no index is built for one question.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.compile.derive import Read, derived
from tidegate.compile.envoy.clusters import ClusterKey, goes_where_dialled, subset_endpoints
from tidegate.compile.explain.explanation import Explanation, Hop, Peer, RouteDestination, Rule
from tidegate.compile.explain.names import Names, default_port
from tidegate.compile.explain.oracle import Action, Call, Captured, decide, is_question
from tidegate.compile.explain.requests import RouteChoice, bad_path, choose_host, choose_route
from tidegate.compile.facts import Facts
from tidegate.compile.outbound.aliases import Aliases, aliases, spellings
from tidegate.compile.outbound.destinations import Claim, claim_at, fast_path, pod_row, service_rows
from tidegate.compile.outbound.routes import foreign_hosts, route_name, routed_to_headless, target_number
from tidegate.compile.registry import Registry
from tidegate.compile.rules import DestinationPolicy, Rules, Source, balancer
from tidegate.compile.tables import PODS_BY_ADDRESS
from tidegate.model.http import HttpRequest
from tidegate.model.kube import Near, Service, ServicePort
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress, host_port, parse_ip
from tidegate.model.origin import Origin
from tidegate.model.routing import HttpRoute, RouteTarget, VirtualService, WeightedTarget
from tidegate.model.tier import Tier


def explain(
    facts: Facts,
    source: WorkloadId,
    host: str,
    port: int | None,
    request: HttpRequest | None = None,
    *,
    dns: bool = False,
) -> Explanation:
    """What the node does with a connection of the pod `source` to host (a name as in the pod, or an address).

    dns: whether the node's DNS takes the pod's questions now.
    """
    return _Trace(facts, source, dns).explain(host.rstrip(".").lower(), port, request or HttpRequest())


@derived
def _foreign(read: Read, _: str) -> dict[str, VirtualService]:
    return foreign_hosts(Registry(read), Rules(read))


@derived
def _aliases(read: Read, _: str) -> Aliases:
    return aliases(Registry(read), Rules(read))


class _Trace:
    def __init__(self, facts: Facts, source: WorkloadId, dns: bool) -> None:
        self._facts = facts
        self._dns = dns
        self._read = facts.read
        self._registry = Registry(self._read)
        self._rules = Rules(self._read)
        self._id = source
        pod = facts.pods.get(source)
        self._source = Source(source.namespace, pod.labels if pod else {})
        self._hops: list[Hop] = []

    def _hop(self, step: str, result: str) -> None:
        self._hops.append(Hop(step, result))

    def _end(self, out: Explanation, **changes: Any) -> Explanation:
        return replace(out, **changes, hops=tuple(self._hops))

    def explain(self, host: str, port: int | None, request: HttpRequest) -> Explanation:
        enrolled, why = self._facts.enrolment(self._id)
        self._hop("enrolment", f"{'in' if enrolled else 'not in'} the mesh: {why}")
        names = Names(self._read, self._id.namespace)
        service, address = names.dialled(host)
        self._hops.extend(names.hops)
        number = port or default_port(service)
        out = Explanation(self._id, host, number, str(address or ""), service.id.fqdn if service else "")
        if not enrolled:
            reason = "the pod is not in the mesh, its connections are untouched"
            return self._end(out, reason=reason, counted_as="" if address is None else self._ask(address, number, None))
        if address is None and service is not None and service.headless:
            self._hop("name", f"{service.id} is headless, and none of its pods is ready: the name has no address")
            return self._end(out, verdict="unavailable", reason="the name has no address, because no pod is ready")
        if address is None:
            self._hop("name", f"{host} is no service or pod that the mesh knows")
            return self._end(out, reason="unknown destination, passes untouched")
        return self._connect(out, address, number, request)

    def _captured(self) -> Captured | None:
        """The pod's row in the kernel; None while nothing listens for it."""
        sandbox = self._facts.sandbox(self._id)
        if sandbox is None or not self._facts.enrolment(self._id).enrolled:
            return None
        if not sandbox.capture.fastpath4 and not sandbox.capture.fastpath6:
            return None
        by_family = {ip.version: ip for ip in reversed(sandbox.ips)}
        return Captured(by_family.get(4), by_family.get(6), sandbox.capture, sandbox.v6_capture)

    def _ask(self, address: IPAddress, port: int, tier: Tier | None) -> str:
        return decide(Call(address, port), self._captured(), tier).reason

    def _tier(self, claim: Claim | None, address: IPAddress) -> Tier | None:
        if claim is not None:
            rows = self._read(service_rows, claim.service.id.fqdn)
            return next(row.tier for row in rows if (row.address, row.port) == (address, claim.port.port))
        pods = self._read(PODS_BY_ADDRESS, address)
        return Tier.DIRECT if pods and pod_row(address, pods) else None

    def _connect(self, out: Explanation, address: IPAddress, port: int, request: HttpRequest) -> Explanation:
        if is_question(Call(address, port), self._captured()):
            if self._dns:
                return self._ask_dns(out, address, port)
            self._hop(
                "names", "the node's DNS takes no questions of this pod: those over UDP go to the resolver itself"
            )
        claim = claim_at(self._read, address, port)
        tier = self._tier(claim, address)
        decision = decide(Call(address, port), self._captured(), tier)
        if tier is None and out.service and decision.action is Action.PASS:
            have = ", ".join(str(p.port) for p in self._registry.services[out.service].tcp_ports)
            self._hop("service", f"{out.service} has no TCP port {port}; it has {have or 'none'}")
        self._hop("connect hook", f"{host_port(str(address), port)}: {decision.says} ({decision.reason.upper()})")
        out = replace(out, reason=decision.says, counted_as=decision.reason)
        if decision.action is Action.DENY and tier is not Tier.REFUSE:
            return self._end(out, verdict="deny")
        if decision.action is Action.PASS or claim is None:
            direct = tier is Tier.DIRECT and self._captured() is not None
            changes = {"tier": "direct", "verdict": "allow", "endpoints": (Peer(str(address), port),)} if direct else {}
            return self._end(out, **changes)
        out = replace(out, service=claim.service.id.fqdn, verdict="allow", tier=(tier or claim.tier).name.lower())
        if claim.tier is Tier.FASTPATH:
            return self._fast_path(out, claim, address)
        if not request.authority:
            request = replace(request, authority=out.host if port == 80 else f"{out.host}:{port}")
        return self._http(out, claim, request)

    def _ask_dns(self, out: Explanation, resolver: IPAddress, port: int) -> Explanation:
        decision = decide(Call(resolver, port), self._captured(), None, dns=True)
        place = host_port(str(resolver), port)
        self._hop("connect hook", f"{place}: {decision.says}, over TCP and UDP ({decision.reason.upper()})")
        self._hop("names", f"names of the mesh are answered here, all others by {place} itself")
        pod = self._facts.pod_at(resolver)
        return self._end(
            out,
            tier="dns",
            verdict="allow",
            reason=decision.says,
            counted_as=decision.reason,
            endpoints=(Peer(str(resolver), port, str(pod.id) if pod else ""),),
        )

    def _fast_path(self, out: Explanation, claim: Claim, address: IPAddress) -> Explanation:
        fqdn, number = claim.service.id.fqdn, claim.port.port
        served = next(s for s in self._read(fast_path, fqdn) if (address, number) in s.addresses)
        self._tell_near(claim.service, claim.port)
        self._hop("fast path", f"{served.balancing.name.lower()} over {len(served.endpoints)} endpoints")
        names = {e.address: e.name for e in self._registry.endpoints(claim.service, claim.port)}
        endpoints = tuple(Peer(str(e.address), e.port, names.get(e.address, "")) for e in served.endpoints)
        return self._end(
            out,
            verdict="allow" if endpoints else "unavailable",
            reason="a TCP service port" if endpoints else out.reason,
            destinations=(RouteDestination(fqdn, number, "", 100.0, str(ClusterKey(fqdn, number))),),
            endpoints=endpoints,
            policies=self._rules.policy(claim.service.id, claim.service.id.namespace).origins,
        )

    def _tell_near(self, service: Service, port: ServicePort) -> None:
        """A Service that asks for endpoints nearby: how many of all are."""
        if service.near is not Near.ANY:
            found = self._registry.endpoints(service, port)
            near = self._registry.near(service, found)
            self._hop("near", f"{service.near.value}: {len(near)} of {len(found)} endpoint addresses")

    def _http(self, out: Explanation, claim: Claim, request: HttpRequest) -> Explanation:
        if bad_path(request.path):
            return self._end(out, reason="the path is none: Envoy answers 400")
        vs = self._virtual_service(claim, request)
        if vs is None:
            self._hop("route", "no VirtualService: the default route to the service")
            return self._forward(out, claim, None)
        self._hop("virtual service", str(vs.origin))
        outcome = choose_route(vs, self._source, claim.port.port, request)
        self._tell(vs, outcome)
        if not outcome.reachable:
            self._hop("route", "none of its routes is for this pod and port: the default route to the service")
            return self._forward(out, claim, None)
        chosen = outcome.chosen
        if chosen is None:
            return self._end(out, reason="no route fits: Envoy answers 404", rule=Rule(vs.origin))
        origin = replace(vs.origin, line=chosen.route.line or vs.origin.line)
        match = None if chosen.match_index < 0 else chosen.match_index
        rule = Rule(origin, chosen.route_index, match, route_name(vs, chosen))
        return self._forward(replace(out, rule=rule, route=chosen.route), claim, chosen.route)

    def _virtual_service(self, claim: Claim, request: HttpRequest) -> VirtualService | None:
        visible = {
            host: vs
            for host in self._read(_foreign, "")
            if (vs := self._rules.owner(host, self._source.namespace)) is not None
            and choose_route(vs, self._source, claim.port.port, request).reachable
        }
        for alias in self._read(_aliases, "").get(claim.service.id.fqdn, ()):
            vs = self._rules.owner(alias.fqdn, self._source.namespace)
            if vs is not None and choose_route(vs, self._source, claim.port.port, request).reachable:
                visible = {**dict.fromkeys(spellings(alias, self._source.namespace), vs), **visible}
        host = choose_host(visible, request.authority)
        if host is not None:
            self._hop("virtual host", f"authority {request.authority} belongs to {host}")
            return visible[host]
        return self._rules.owner(claim.service.id.fqdn, self._source.namespace)

    def _tell(self, vs: VirtualService, outcome: RouteChoice) -> None:
        for tried in outcome.tried:
            candidate = tried.candidate
            line = (candidate.match.line if candidate.match else 0) or candidate.route.line
            place = f"{vs.origin.file}:{line} {route_name(vs, candidate)}"
            self._hop("route", f"{place}: {tried.refusal or 'fits'}")

    def _forward(self, out: Explanation, claim: Claim, route: HttpRoute | None) -> Explanation:
        if route is not None and (route.redirect is not None or route.direct_response is not None):
            answer = "redirect" if route.redirect is not None else "direct response"
            return self._end(out, reason=f"Envoy answers itself: {answer}")
        own = WeightedTarget(RouteTarget(claim.service.id.fqdn, claim.port.port))
        targets = [
            t for t in (route.targets if route else (own,)) if t.weight or route is None or len(route.targets) == 1
        ]
        total = sum(t.weight for t in targets)
        destinations: list[RouteDestination] = []
        endpoints: list[Peer] = []
        policies: dict[Origin, None] = {}
        for weighted in targets:
            percent = 100.0 * weighted.weight / total if len(targets) > 1 else 100.0
            destination, found, policy = self._target(claim, out.address, weighted.target, percent)
            destinations.append(destination)
            endpoints.extend(found)
            policies.update(dict.fromkeys(policy.origins if policy else ()))
        reason = "an HTTP service port" if route is None else "the first route that fits"
        return self._end(
            out,
            verdict="allow" if endpoints else "unavailable",
            reason=reason if endpoints else "no endpoint is ready: Envoy answers 503",
            destinations=tuple(destinations),
            endpoints=tuple(endpoints),
            policies=tuple(policies),
        )

    def _target(
        self, claim: Claim, address: str, target: RouteTarget, percent: float
    ) -> tuple[RouteDestination, list[Peer], DestinationPolicy | None]:
        if (behind := self._registry.behind(target)) != target:
            self._hop("destination", f"{target.host} is an ExternalName: an alias of {behind.host}")
            target = behind
        number = target_number(self._registry, target, claim.port.port)
        service: Service | None = self._registry.services.get(target.host)
        port: ServicePort | None = service.port(number) if service else None
        client = self._rules.policy_scope(service.id, self._source.namespace) if service else ""
        lb_headless = service is not None and routed_to_headless(
            service, number, target.subset, claim.service, claim.port
        )
        cluster = str(ClusterKey(target.host, number, target.subset, client, lb_headless))
        destination = RouteDestination(target.host, number, target.subset, percent, cluster)
        label = f"{cluster} ({percent:g} %)"
        if service is not None and service.external_name:
            self._hop("destination", f"{label}: {service.external_name}, as the node resolves it")
            return destination, [Peer(service.external_name.rstrip("."), number)], None
        if service is None or port is None:
            self._hop("destination", f"{label}: no such service port, Envoy answers 503 (NC)")
            return destination, [], None
        policy = self._rules.policy(service.id, self._source.namespace)
        found = subset_endpoints(self._registry, service, port, policy, target.subset)
        if found is None:
            self._hop("destination", f"{label}: no DestinationRule defines the subset, Envoy answers 503 (NC)")
            return destination, [], policy
        settings = policy.for_port(number, target.subset)
        if goes_where_dialled(service, settings, target.subset, lb_headless):
            self._hop("destination", f"{label}: the address that was dialled, whoever is there")
            pod = self._facts.pod_at(parse_ip(address))
            return destination, [Peer(address, claim.port.port, str(pod.id) if pod else "")], policy
        self._tell_near(service, port)
        if not found:
            self._hop("destination", f"{label}: no ready endpoint, Envoy answers 503 (UH)")
        else:
            chosen = balancer(service, settings)
            how = chosen.balancing.value if chosen else "LEAST_REQUEST"
            self._hop("destination", f"{label}: {how} over {len(found)} endpoints")
        return destination, [Peer(str(e.address), e.port, e.name, target.subset) for e in found], policy
