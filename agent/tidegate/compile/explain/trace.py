"""explain: what happens to one connection or request of one pod, hook by hook and rule by rule, and why.

It asks the oracle of the connect hook, the claims, rules and clusters that the plan is made of, and the oracle of
requests for the route. Everything is looked up by key in the facts: no index is built for one question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Final

from tidegate.compile.derive import Read, derived
from tidegate.compile.envoy.clusters import (
    ClusterKey,
    as_told,
    credential,
    goes_where_dialled,
    of_the_mesh,
    subset_endpoints,
)
from tidegate.compile.envoy.named import named_in_subset
from tidegate.compile.envoy.patches.selection import Selection
from tidegate.compile.envoy.upstream_tls import of_connections
from tidegate.compile.explain.arrival import in_front
from tidegate.compile.explain.explanation import Explanation, Hop, Peer, RouteDestination, Rule
from tidegate.compile.explain.l4 import Connection, Landing, choose_l4, landing
from tidegate.compile.explain.names import Names, default_port
from tidegate.compile.explain.oracle import Action, Call, Captured, decide, is_question
from tidegate.compile.explain.policy import in_force, order, tls_mode
from tidegate.compile.explain.requests import RouteChoice, bad_path, choose_host, choose_route
from tidegate.compile.facts import Facts
from tidegate.compile.outbound.aliases import Aliases, aliases, spellings
from tidegate.compile.outbound.destinations import Claim, claim_at, claims, pod_row, service_rows, serving
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.outbound.routes import foreign_hosts, route_name, target_number
from tidegate.compile.ranges import Member, Range, range_at, ranges
from tidegate.compile.registry import Registry, routed_to_headless
from tidegate.compile.rules import DestinationPolicy, Rules, balancer, with_defaults
from tidegate.compile.tables import PODS_BY_ADDRESS, SERVICES
from tidegate.compile.visibility import Source, registry_only, sees_service, source_of
from tidegate.model.entry import ANY
from tidegate.model.envoy_filter import Patch
from tidegate.model.hosts import host_matches, is_address, specificity
from tidegate.model.http import HttpRequest
from tidegate.model.kube import Near, Service, ServicePort
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress, host_port, parse_ip
from tidegate.model.origin import Origin
from tidegate.model.routing import HttpRoute, RouteTarget, VirtualService, WeightedTarget
from tidegate.model.service_entry import Speech
from tidegate.model.tier import Tier


def explain(
    facts: Facts,
    source: WorkloadId,
    host: str,
    port: int | None,
    request: HttpRequest | None = None,
    sni: str = "",
    *,
    dns: bool = False,
) -> Explanation:
    """What the node does with a connection of the pod `source` to host (a name as in the pod, or an address).

    sni: name that a TLS client asks for; "" = the host, if it is a name. dns: whether the node's DNS takes the pod's
    questions now.
    """
    return _Trace(facts, source, sni, dns).explain(host.rstrip(".").lower(), port, request or HttpRequest())


@derived
def _foreign(read: Read, _: str) -> dict[str, VirtualService]:
    return foreign_hosts(Registry(read), Rules(read))


@derived
def _aliases(read: Read, _: str) -> Aliases:
    return aliases(Registry(read), Rules(read))


_SOME_ADDRESS: Final = IPv4Address("192.0.2.0")  # stands for any that a name may have (RFC 5737)


def _ports(facts: Facts) -> frozenset[tuple[str, int]]:
    """Names and numbers of service ports, if somebody may ask for them."""
    if not facts.mesh.envoy_filters:
        return frozenset()
    return frozenset((port.name, port.port) for service in facts.services.values() for port in service.tcp_ports)


def _failure(claim: Claim) -> str:
    """What a client gets whom Envoy can send to nobody."""
    return "Envoy answers 503" if claim.port.protocol.is_http else "Envoy ends the connection"


class _Trace:
    def __init__(self, facts: Facts, source: WorkloadId, sni: str, dns: bool) -> None:
        self._facts = facts
        self._sni = sni.rstrip(".").lower()
        self._dns = dns
        self._read = facts.read
        self._registry = Registry(self._read)
        self._rules = Rules(self._read)
        self._id = source
        pod = facts.pods.get(source)
        self._source = source_of(self._read, pod) if pod else Source(source.namespace)
        self._strict = registry_only(self._read, self._source.sidecar)
        self._hops: list[Hop] = []
        self._tls = "none"
        mesh = facts.mesh
        selection = Selection(mesh.envoy_filters, mesh.refused_patches, mesh.config.root_namespace)
        self._filtered = Filtered(selection, _ports(facts))

    def _hop(self, step: str, result: str) -> None:
        self._hops.append(Hop(step, result))

    def _end(self, out: Explanation, **changes: Any) -> Explanation:
        out = replace(out, **changes)
        self._hops.extend(in_front(self._facts, self._filtered.selection, out.endpoints))
        return replace(out, hops=tuple(self._hops))

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
        if address is None and any(r.network == ANY and r.port == number for r in self._read(ranges, "")):
            self._hop("name", f"{host} has no address that the mesh knows: any address is meant")
            return self._connect(out, _SOME_ADDRESS, number, request)
        if address is None:
            self._hop("name", f"{host} is no service or pod that the mesh knows")
            if self._strict:
                return self._refused(out, self._answers_http(number))
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
        return Captured(by_family.get(4), by_family.get(6), sandbox.capture, sandbox.v6_capture, self._strict)

    def _ask(self, address: IPAddress, port: int, tier: Tier | None) -> str:
        return decide(Call(address, port), self._captured(), tier).reason

    def _tier(self, claim: Claim | None, address: IPAddress) -> Tier | None:
        if claim is not None:
            rows = self._read(service_rows, claim.service.id.fqdn)
            there = next(row.tier for row in rows if (row.address, row.port) == (address, claim.port.port))
            return there if there is Tier.REFUSE else serving(self._read, claim, self._source)
        pods = self._read(PODS_BY_ADDRESS, address)
        return Tier.DIRECT if pods and pod_row(address, pods) else None

    def _connect(self, out: Explanation, address: IPAddress, port: int, request: HttpRequest) -> Explanation:
        if is_question(Call(address, port), self._captured()):
            if self._dns:
                return self._ask_dns(out, address, port)
            self._hop(
                "names", "the node's DNS takes no questions of this pod: those over UDP go to the resolver itself"
            )
        claim = self._seen(claim_at(self._read, address, port))
        tier = self._tier(claim, address)
        wide = self._range(address, port) if tier is None else None
        if wide is not None:
            tier = wide.tier
        if elsewhere := tier is None and self._strict and self._answers_http(port):
            tier = Tier.ENVOY
        decision = decide(Call(address, port), self._captured(), tier, elsewhere)
        if tier is None and out.service and decision.action is Action.PASS:
            have = ", ".join(str(p.port) for p in self._registry.services[out.service].tcp_ports)
            self._hop("service", f"{out.service} has no TCP port {port}; it has {have or 'none'}")
        self._hop("connect hook", f"{host_port(str(address), port)}: {decision.says} ({decision.reason.upper()})")
        out = replace(out, reason=decision.says, counted_as=decision.reason)
        if decision.action is Action.REDIRECT and elsewhere:
            return self._refused(out, by_envoy=True)
        if decision.action is Action.DENY and tier is not Tier.REFUSE:
            return self._end(out, verdict="deny")
        if decision.action is Action.REDIRECT and wide is not None:
            return self._in_range(replace(out, tier=wide.tier.name.lower()), wide, address, request)
        if decision.action is Action.PASS or claim is None:
            direct = tier is Tier.DIRECT and self._captured() is not None
            changes = {"tier": "direct", "verdict": "allow", "endpoints": (Peer(str(address), port),)} if direct else {}
            return self._end(out, **changes)
        out = replace(out, service=claim.service.id.fqdn, verdict="allow", tier=(tier or claim.tier).name.lower())
        if claim.tier is Tier.FASTPATH:
            return self._fast_path(out, claim, self._peer(address, port))
        if not request.authority:
            request = replace(request, authority=out.host if port == 80 else f"{out.host}:{port}")
        return self._http(out, claim, request)

    def _range(self, address: IPAddress, port: int) -> Range | None:
        """The range that has an address and port, if any of its services exists for this pod."""
        found = range_at(self._read, address, port)
        if found is None or not any(sees_service(self._read, self._source, s, p.port) for s, p in found.members):
            return None
        network = "every address" if found.network == ANY else str(found.network)
        hosts = ", ".join(service.id.fqdn for service, _ in found.members)
        self._hop("range", f"port {port} of {network} is of {hosts}, by {found.speech.name}")
        return found

    def _in_range(self, out: Explanation, wide: Range, address: IPAddress, request: HttpRequest) -> Explanation:
        """Which host of a range is meant, and what becomes of it."""
        where = out.host if address == _SOME_ADDRESS else str(address)
        said = request.authority or out.host if wide.speech is Speech.HTTP else self._sni or out.host
        name = said.partition(":")[0].lower()
        seen = [m for m in self._members(wide) if sees_service(self._read, self._source, m[0], m[1].port)]
        fitting = [m for m in seen if host_matches(m[0].id.fqdn, name)] if wide.goes_by_name else seen[:1]
        service, port = min(fitting, key=lambda m: specificity(m[0].id.fqdn), default=(None, None))
        out = replace(out, address=where, verdict="allow")
        foreign = wide.speech is Speech.HTTP and choose_host(self._read(_foreign, ""), said) is not None
        if (service is None or port is None) and not foreign:
            self._hop("host", f"{said} is no host of this range")
            if self._strict and wide.speech is Speech.HTTP:
                return self._refused(out, by_envoy=True)
            if self._strict:
                return self._end(out, verdict="unavailable", reason="no route fits: the connection is reset (no_route)")
            straight = (Peer(where, wide.port),)
            return self._end(out, reason="no host of the registry: on to where it was dialled", endpoints=straight)
        member = (service, port) if service and port else self._members(wide)[0]
        claim = Claim(*member, (), wide.tier, f"{member[0].id.fqdn}:{wide.port}")
        out = replace(out, service=service.id.fqdn if service else "")
        if wide.speech is Speech.HTTP:
            return self._http(out, claim, request if request.authority else replace(request, authority=said))
        return self._fast_path(out, claim, Peer(where, wide.port))

    def _members(self, wide: Range) -> tuple[Member, ...]:
        """Who may be meant: of HTTP the host says it, whichever range was dialled."""
        if wide.speech is not Speech.HTTP:
            return wide.members
        same = (r for r in self._read(ranges, "") if (r.port, r.speech) == (wide.port, wide.speech))
        return tuple({m[0].id.fqdn: m for r in same for m in r.members}.values())

    def _seen(self, claim: Claim | None) -> Claim | None:
        """The claim, if its service exists for this pod."""
        if claim is None or sees_service(self._read, self._source, claim.service, claim.port.port):
            return claim
        sidecar = self._source.sidecar
        why = f"{sidecar.origin} does not import it" if sidecar else "its exportTo does not name the pod's namespace"
        self._hop("visibility", f"{claim.name} does not exist for this pod: {why}")
        return None

    def _answers_http(self, port: int) -> bool:
        """Whether Envoy answers for unknown destinations at a port: some service that the pod sees has HTTP there."""
        every = (claim for fqdn in self._read.all(SERVICES) for claim in self._read(claims, fqdn))
        return any(
            c.tier is Tier.ENVOY and c.port.port == port and sees_service(self._read, self._source, c.service, port)
            for c in every
        )

    def _refused(self, out: Explanation, by_envoy: bool) -> Explanation:
        """Nobody in the registry has it, and the pod may reach nobody else (REGISTRY_ONLY)."""
        sidecar = self._source.sidecar
        of_sidecar = sidecar is not None and sidecar.registry_only is not None
        who = sidecar.origin if sidecar is not None and of_sidecar else self._rules.mesh.origin
        self._hop("outbound traffic policy", f"REGISTRY_ONLY by {who}")
        how = "Envoy answers 502" if by_envoy else "connect() is refused"
        reason = f"nobody in the registry has the destination: {how}"
        return self._end(out, tier="envoy" if by_envoy else "none", verdict="deny", reason=reason)

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

    def _peer(self, address: IPAddress, port: int) -> Peer:
        pod = self._facts.pod_at(address)
        return Peer(str(address), port, str(pod.id) if pod else "")

    def _fast_path(self, out: Explanation, claim: Claim, dialled: Peer) -> Explanation:
        name = self._sni or ("" if is_address(out.host) else out.host)
        address = parse_ip(dialled.address) if is_address(dialled.address) else _SOME_ADDRESS
        choice = choose_l4(self._rules, claim, self._source, Connection(address, name))
        for origin, line, kind, index, refusal in choice.told:
            which = f"{origin.at_line(line)}{origin.namespace}/{origin.name} {kind}[{index}]"
            self._hop("route", f"{which}: {refusal or 'fits'}")
        out = replace(out, rule=choice.rule)
        if choice.refused:
            return self._end(out, verdict="unavailable", reason="no route fits: the connection is reset (no_route)")
        if out.tier == Tier.ENVOY.name.lower():
            reason = "the first route that fits" if choice.rule else "a TCP service port, whose policy needs Envoy"
            return self._spread(out, claim, choice.targets, reason)
        self._tell_near(claim.service, claim.port)
        landings = [
            landing(self._registry, self._rules, claim, self._source, dialled, target, percent)
            for target, percent in choice.targets
        ]
        for found in landings:
            self._hop("fast path", found.says)
        return self._landed(out, landings, choice.rule is not None)

    def _landed(self, out: Explanation, landings: list[Landing], routed: bool) -> Explanation:
        endpoints = tuple(peer for found in landings for peer in found.endpoints)
        reason = "the first route that fits" if routed else "a TCP service port"
        return self._end(
            out,
            verdict="allow" if endpoints else "unavailable",
            reason=reason if endpoints else out.reason,
            destinations=tuple(found.destination for found in landings),
            endpoints=endpoints,
            policies=tuple(dict.fromkeys(origin for found in landings for origin in found.policies)),
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
        asked = self._registry.beside(claim.service, claim.port).get(request.authority.partition(":")[0].lower())
        if asked is not None:
            self._hop("virtual host", f"authority {request.authority} is {asked[0].id}, at the same address")
            claim = replace(claim, service=asked[0], port=asked[1])
        for patch in self._filtered.concerning(self._source, claim.name, claim.port.port):
            self._patch(patch)
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
        written = chosen.route.origin or vs.origin  # of a delegate
        origin = replace(written, line=chosen.route.line or written.line)
        match = None if chosen.match_index < 0 else chosen.match_index
        index = chosen.route_index if chosen.route.index < 0 else chosen.route.index
        rule = Rule(origin, index, match, route_name(vs, chosen))
        return self._forward(replace(out, rule=rule, route=self._in_force(chosen.route)), claim, chosen.route)

    def _in_force(self, route: HttpRoute) -> HttpRoute:
        """The route, with the shares of its faults as they hold for this mesh."""
        return replace(route, fault=with_defaults(route, self._rules.mesh).fault)

    def _virtual_service(self, claim: Claim, request: HttpRequest) -> VirtualService | None:
        visible = {
            host: vs
            for host in self._read(_foreign, "")
            if (vs := self._rules.owner(host, self._source, claim.port.port)) is not None
            and choose_route(vs, self._source, claim.port.port, request).reachable
        }
        for alias in self._read(_aliases, "").get(claim.service.id.fqdn, ()):
            vs = self._rules.owner(alias.fqdn, self._source, claim.port.port)
            if vs is not None and choose_route(vs, self._source, claim.port.port, request).reachable:
                visible = {**dict.fromkeys(spellings(alias, self._source.namespace), vs), **visible}
        host = choose_host(visible, request.authority)
        if host is not None:
            self._hop("virtual host", f"authority {request.authority} belongs to {host}")
            return visible[host]
        return self._rules.owner(claim.service.id.fqdn, self._source, claim.port.port)

    def _patch(self, patch: Patch) -> None:
        self._hop("envoy filter", f"{patch.origin}: {patch.operation.value} of {patch.apply_to.value}")

    def _tell(self, vs: VirtualService, outcome: RouteChoice) -> None:
        for tried in outcome.tried:
            candidate = tried.candidate
            line = (candidate.match.line if candidate.match else 0) or candidate.route.line
            place = f"{(candidate.route.origin or vs.origin).at_line(line)}{route_name(vs, candidate)}"
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
        shares = [(t.target, 100.0 * t.weight / total if len(targets) > 1 else 100.0) for t in targets]
        return self._spread(
            out, claim, shares, "an HTTP service port" if route is None else "the first route that fits"
        )

    def _spread(
        self, out: Explanation, claim: Claim, shares: Iterable[tuple[RouteTarget, float]], reason: str
    ) -> Explanation:
        """What Envoy does with what it is to send to these targets."""
        destinations: list[RouteDestination] = []
        endpoints: list[Peer] = []
        policies: dict[Origin, None] = {}
        for target, percent in shares:
            destination, found, policy = self._target(claim, out.address, target, percent)
            destinations.append(destination)
            endpoints.extend(found)
            policies.update(dict.fromkeys(policy.origins if policy else ()))
        return self._end(
            out,
            verdict="allow" if endpoints else "unavailable",
            reason=reason if endpoints else f"no endpoint is ready: {_failure(claim)}",
            destinations=tuple(destinations),
            endpoints=tuple(endpoints),
            policies=tuple(policies),
            tls=self._tls,
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
        client = self._rules.policy_scope(service.id, self._source) if service else ""
        lb_headless = service is not None and routed_to_headless(
            service, number, target.subset, claim.service, claim.port
        )
        key = self._filtered.cluster_key(
            ClusterKey(target.host, number, target.subset, client, lb_headless), self._source
        )
        for patch in self._filtered.of_cluster(key):
            self._patch(patch)
        cluster = str(key)
        destination = RouteDestination(target.host, number, target.subset, percent, cluster)
        label = f"{cluster} ({percent:g} %)"
        if service is not None and service.external_name:
            self._hop("destination", f"{label}: {service.external_name}, as the node resolves it")
            return destination, [Peer(service.external_name.rstrip("."), number)], None
        if service is None or port is None:
            self._hop("destination", f"{label}: no such service port, {_failure(claim)} (NC)")
            return destination, [], None
        policy = self._rules.policy_of(service.id, self._source)
        named = named_in_subset(self._registry, service, port, policy.subset(target.subset))
        if named is not None and (not target.subset or policy.subset(target.subset) is not None):
            how = "as the node resolves it" if any(not n.workload.path for n in named) else "sockets of the node"
            self._hop("destination", f"{label}: {', '.join(n.label for n in named) or 'nobody'}, {how}")
            peers = [Peer(n.label, 0 if n.workload.path else n.port, "", target.subset) for n in named]
            return destination, peers, policy
        found = subset_endpoints(self._registry, service, port, policy, target.subset)
        if found is None:
            self._hop("destination", f"{label}: no DestinationRule defines the subset, {_failure(claim)} (NC)")
            return destination, [], policy
        settings = policy.for_port(number, target.subset)
        settings = as_told(settings, service, credential(settings, client))
        settings = of_the_mesh(settings, self._registry, self._rules.mesh, service, key)
        if not claim.port.protocol.is_http:
            settings = of_connections(settings, service.id.fqdn)
        self._tls = tls_mode(settings) if self._tls == "none" else self._tls
        if (said := in_force(settings, len(found), self._rules.mesh.compat)) != "":
            self._hop("policy", f"{label}: {said} ({', '.join(map(str, policy.origins))})")
        if goes_where_dialled(service, settings, target.subset, lb_headless):
            self._hop("destination", f"{label}: the address that was dialled, whoever is there")
            there = self._peer(parse_ip(address), claim.port.port) if is_address(address) else None
            return destination, [there or Peer(address, claim.port.port)], policy
        self._tell_near(service, port)
        if not found:
            self._hop("destination", f"{label}: no ready endpoint, {_failure(claim)} (UH)")
        else:
            chosen = balancer(service, settings, self._rules.mesh)
            how = chosen.balancing.value if chosen else "LEAST_REQUEST"
            self._hop("destination", f"{label}: {how} over {len(found)} endpoints")
            if (places := order(self._registry.spread(settings, found, self._source.labels))) != "":
                self._hop("places", f"{label}: {places}")
        return destination, [Peer(str(e.address), e.port, e.name, target.subset) for e in found], policy
