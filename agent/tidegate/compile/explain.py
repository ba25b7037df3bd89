"""explain: what happens to one connection or request of one pod, hook by hook and rule by rule, and why.

It asks the same claims, rules and clusters that the snapshot is made of, and the oracle for the route.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.compile.derive import Derivations, Read
from tidegate.compile.envoy.clusters import ClusterKey, goes_where_dialled, subset_endpoints
from tidegate.compile.facts import Facts
from tidegate.compile.oracle import Outcome, choose_host, choose_route
from tidegate.compile.outbound.destinations import Claim, Destinations, FindDestinations
from tidegate.compile.outbound.routes import foreign_hosts, route_name, routed_to_headless, target_number
from tidegate.compile.registry import Registry
from tidegate.compile.render import render
from tidegate.compile.rules import DestinationPolicy, Rules, Source
from tidegate.model.capture import CAPTURE4_PREFIX, CAPTURE6_PREFIX
from tidegate.model.hosts import is_address
from tidegate.model.http import HttpRequest
from tidegate.model.kube import Service, ServicePort
from tidegate.model.names import CLUSTER_DOMAIN, ServiceName, WorkloadId
from tidegate.model.net import IPAddress, host_port, parse_ip
from tidegate.model.origin import Origin
from tidegate.model.routing import HttpRoute, Mirror, RouteTarget, VirtualService, WeightedTarget
from tidegate.model.tier import Tier

__all__ = ["Explanation", "HttpRequest", "explain", "render"]

_SEARCH = ("", f".{{}}.svc.{CLUSTER_DOMAIN}", f".svc.{CLUSTER_DOMAIN}", f".{CLUSTER_DOMAIN}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """tier: none, direct, fastpath or envoy. verdict: pass (untouched), allow, deny, or unavailable (no rule is against
    it, but nothing is there that could answer)."""

    source: WorkloadId
    host: str
    port: int
    address: str = ""
    service: str = ""  # FQDN
    tier: str = "none"
    verdict: str = "pass"
    reason: str = ""
    rule: dict[str, Any] | None = None
    action: dict[str, Any] = field(default_factory=dict)
    destinations: tuple[dict[str, Any], ...] = ()
    endpoints: tuple[dict[str, Any], ...] = ()
    policies: tuple[dict[str, Any], ...] = ()
    tls: str = "none"
    hops: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Stable keys; `destination` is the likeliest of `destinations`."""
        return {
            "source": str(self.source),
            "host": self.host,
            "port": self.port,
            "address": self.address,
            "service": self.service,
            "tier": self.tier,
            "verdict": self.verdict,
            "reason": self.reason,
            "rule": self.rule,
            "action": self.action,
            "destination": max(self.destinations, key=lambda d: float(d["percent"]), default=None),
            "destinations": list(self.destinations),
            "endpoints": list(self.endpoints),
            "policies": list(self.policies),
            "tls": self.tls,
            "hops": [{"step": step, "result": result} for step, result in self.hops],
        }


def explain(
    facts: Facts, source: WorkloadId, host: str, port: int | None, request: HttpRequest | None = None
) -> Explanation:
    """What the node does with a connection of the pod `source` to host (a name as in the pod, or an address)."""
    return _Explainer(facts, source).explain(host.rstrip(".").lower(), port, request or HttpRequest())


class _Explainer:
    def __init__(self, facts: Facts, source: WorkloadId) -> None:
        self._facts = facts
        read = Read(facts.tables)
        self._registry = Registry(read)
        self._rules = Rules(read)
        derivations = Derivations()
        derivations.change(facts.tables)
        self._found: Destinations = FindDestinations(derivations)()
        self._id = source
        pod = self._registry.pods.get(source)
        self._source = Source(source.namespace, pod.labels if pod else {})
        self._hops: list[tuple[str, str]] = []

    def _hop(self, step: str, result: str) -> None:
        self._hops.append((step, result))

    def explain(self, host: str, port: int | None, request: HttpRequest) -> Explanation:
        enrolled, why = self._facts.enrolment(self._id)
        self._hop("enrolment", f"{'in' if enrolled else 'not in'} the mesh: {why}")
        service, address = self._dialled(host)
        number = port or _default_port(service)
        out = Explanation(self._id, host, number, str(address or ""), service.id.fqdn if service else "")
        if not enrolled:
            return self._end(out, reason="the pod is not in the mesh, its connections are untouched")
        if address is not None and address in (CAPTURE4_PREFIX if address.version == 4 else CAPTURE6_PREFIX):
            self._hop("connect hook", "a capture address was dialled: refused")
            return self._end(out, verdict="deny", reason="capture addresses cannot be dialled")
        if address is None and service is not None and service.headless:
            self._hop("name", f"{service.id} is headless, and none of its pods is ready: the name has no address")
            return self._end(out, verdict="unavailable", reason="the name has no address, because no pod is ready")
        if address is None:
            self._hop("name", f"{host} is no service or pod that the mesh knows")
            return self._end(out, reason="unknown destination, passes untouched")
        return self._by_tier(out, address, number, request)

    def _end(self, out: Explanation, **changes: Any) -> Explanation:
        return replace(out, **changes, hops=tuple(self._hops))

    def _dialled(self, host: str) -> tuple[Service | None, IPAddress | None]:
        """As _resolve(), through the aliases that a resolver follows."""
        seen: set[ServiceName] = set()
        service, address = self._resolve(host)
        while service is not None and service.external_name and service.id not in seen:
            seen.add(service.id)
            self._hop("name", f"{service.id} is an ExternalName: an alias of {service.external_name}")
            service, address = self._resolve(service.external_name.rstrip("."))
        return service, address

    def _resolve(self, host: str) -> tuple[Service | None, IPAddress | None]:
        """The service that a name or address means in this pod, and the (first) address that would be dialled."""
        if is_address(host):
            address = parse_ip(host)
            claim = next((c for c in self._found.claims if address in c.addresses), None)
            return (claim.service if claim else None), address
        for suffix in _SEARCH:
            service = self._registry.services.get(host + suffix.format(self._id.namespace))
            if service is not None:
                addresses = service.addresses
                if service.headless:
                    ready = [p for p in self._registry.selected(service) if p.ready or service.publish_not_ready]
                    addresses = tuple(a for p in ready for a in p.ips)
                return service, (addresses[0] if addresses else None)
        return None, None

    def _by_tier(self, out: Explanation, address: IPAddress, port: int, request: HttpRequest) -> Explanation:
        rows = {(r.address, r.port): r for r in self._found.rows}
        row = rows.get((address, port)) or rows.get((address, 0))
        if row is None:
            if out.service:
                have = ", ".join(str(p.port) for p in self._registry.services[out.service].tcp_ports)
                self._hop("service", f"{out.service} has no TCP port {port}; it has {have or 'none'}")
            self._hop("connect hook", f"no row for {address} port {port}: passes untouched (PASS_UNKNOWN)")
            return self._end(out, reason="unknown destination, passes untouched")
        if row.tier is Tier.DIRECT:
            self._hop("connect hook", f"{address} is a pod's address: straight to the peer (PASS_WORKLOAD)")
            return self._end(
                out,
                tier="direct",
                verdict="allow",
                reason="a pod address that no route concerns",
                endpoints=_plain(address, port),
            )
        claim = next(c for c in self._found.claims if address in c.addresses and c.port.port == port)
        out = replace(out, service=claim.service.id.fqdn, verdict="allow", tier=row.tier.name.lower())
        if row.tier is Tier.FASTPATH:
            return self._fast_path(out, claim, address)
        self._hop(
            "connect hook", f"{host_port(str(address), port)} is HTTP: to Envoy's listener in the pod (REDIRECT_ENVOY)"
        )
        if not request.authority:
            request = replace(request, authority=out.host if port == 80 else f"{out.host}:{port}")
        return self._http(out, claim, request)

    def _fast_path(self, out: Explanation, claim: Claim, address: IPAddress) -> Explanation:
        self._hop(
            "connect hook", f"{host_port(str(address), claim.port.port)} is TCP: to the fast path (REDIRECT_FASTPATH)"
        )
        served = next(s for s in self._found.l4 if (address, claim.port.port) in s.addresses)
        self._hop("fast path", f"{served.balancing.name.lower()} over {len(served.endpoints)} endpoints")
        policy = self._rules.policy(claim.service.id, claim.service.id.namespace)
        target = RouteTarget(claim.service.id.fqdn, claim.port.port)
        names = {e.address: e.pod.id for e in self._registry.endpoints(claim.service, claim.port)}
        endpoints = tuple(
            {"address": str(e.address), "port": e.port, "pod": str(names.get(e.address, "")), "subset": ""}
            for e in served.endpoints
        )
        return self._end(
            out,
            verdict="allow" if endpoints else "unavailable",
            reason="a TCP service port" if endpoints else "no endpoint is ready: the connection is reset",
            destinations=(_destination(target, target.port, "", 100.0),),
            endpoints=endpoints,
            policies=tuple(_origin(o) for o in policy.origins),
        )

    def _http(self, out: Explanation, claim: Claim, request: HttpRequest) -> Explanation:
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
            return self._end(out, reason="no route fits: Envoy answers 404", rule={**_origin(vs.origin), "index": None})
        rule = {
            **_origin(vs.origin),
            "line": chosen.route.line or vs.origin.line,
            "index": chosen.route_index,
            "match": None if chosen.match_index < 0 else chosen.match_index,
            "route": route_name(vs, chosen),
        }
        return self._forward(replace(out, rule=rule, action=_action(chosen.route)), claim, chosen.route)

    def _virtual_service(self, claim: Claim, request: HttpRequest) -> VirtualService | None:
        foreign = foreign_hosts(self._registry, self._rules)
        visible = {
            h: vs
            for h in foreign
            if (vs := self._rules.owner(h, self._source.namespace)) is not None
            and choose_route(vs, self._source, claim.port.port, request).reachable
        }
        host = choose_host(visible, request.authority)
        if host is not None:
            self._hop("virtual host", f"authority {request.authority} belongs to {host}")
            return visible[host]
        return self._rules.owner(claim.service.id.fqdn, self._source.namespace)

    def _tell(self, vs: VirtualService, outcome: Outcome) -> None:
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
        destinations: list[dict[str, Any]] = []
        endpoints: list[dict[str, Any]] = []
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
            policies=tuple(_origin(o) for o in policies),
        )

    def _target(
        self, claim: Claim, address: str, target: RouteTarget, percent: float
    ) -> tuple[dict[str, Any], list[dict[str, Any]], DestinationPolicy | None]:
        number = target_number(self._registry, target, claim.port.port)
        service = self._registry.services.get(target.host)
        port: ServicePort | None = service.port(number) if service else None
        scope = self._rules.policy_scope(service.id, self._source.namespace) if service else ""
        lb_headless = service is not None and routed_to_headless(
            service, number, target.subset, claim.service, claim.port
        )
        destination = _destination(target, number, scope, percent, lb_headless)
        label = f"{destination['cluster']} ({percent:g} %)"
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
            return destination, [self._dialled_row(address, claim.port.port)], policy
        if not found:
            self._hop("destination", f"{label}: no ready endpoint, Envoy answers 503 (UH)")
        else:
            balancer = settings.load_balancer
            how = balancer.balancing.value if balancer else "LEAST_REQUEST"
            self._hop("destination", f"{label}: {how} over {len(found)} endpoints")
        rows = [
            {"address": str(e.address), "port": e.port, "pod": str(e.pod.id), "subset": target.subset} for e in found
        ]
        return destination, rows, policy

    def _dialled_row(self, address: str, port: int) -> dict[str, Any]:
        pod = self._facts.pod_at(parse_ip(address))
        return {"address": address, "port": port, "pod": str(pod.id) if pod else "", "subset": ""}


def _default_port(service: Service | None) -> int:
    """The port that is meant when none is given: the only one, else the first HTTP port, else the first."""
    ports = service.tcp_ports if service else ()
    if not ports:
        return 80
    return next((p.port for p in ports if p.protocol.is_http), ports[0].port)


def _destination(
    target: RouteTarget, port: int, scope: str, percent: float, lb_headless: bool = False
) -> dict[str, Any]:
    return {
        "host": target.host,
        "port": port,
        "subset": target.subset,
        "percent": round(percent, 4),
        "cluster": str(ClusterKey(target.host, port, target.subset, scope, lb_headless)),
    }


def _plain(address: IPAddress, port: int) -> tuple[dict[str, Any], ...]:
    return ({"address": str(address), "port": port, "pod": "", "subset": ""},)


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "kind": origin.kind,
        "namespace": origin.namespace,
        "name": origin.name,
        "file": origin.file,
        "line": origin.line,
    }


def _action(route: HttpRoute) -> dict[str, Any]:
    """What the route does besides choosing a destination, in the API's words."""
    out: dict[str, Any] = {}
    if route.timeout_ms:
        out["timeout"] = f"{route.timeout_ms / 1000:g}s"
    if route.retries is not None:
        out["retries"] = route.retries.attempts
    if (fault := route.fault) is not None:
        if fault.delay_ms:
            out["delay"] = f"{fault.delay_ms / 1000:g}s for {fault.delay_share / 10_000:g} %"
        if fault.abort_status or fault.abort_grpc is not None:
            status = fault.abort_status or f"gRPC {fault.abort_grpc}"
            out["abort"] = f"{status} for {fault.abort_share / 10_000:g} %"
    if (redirect := route.redirect) is not None:
        out["redirect"] = {
            k: v
            for k, v in (
                ("code", redirect.code),
                ("authority", redirect.authority),
                ("uri", redirect.uri),
                ("prefixRewrite", redirect.prefix),
                ("scheme", redirect.scheme),
                ("port", redirect.port),
            )
            if v
        }
    if route.direct_response is not None:
        out["directResponse"] = route.direct_response.status
    if (rewrite := route.rewrite) is not None:
        parts = {"uri": rewrite.uri, "authority": rewrite.authority, "regex": rewrite.regex and list(rewrite.regex)}
        out["rewrite"] = {k: v for k, v in parts.items() if v}
    if route.mirrors:
        out["mirror"] = [_mirror(m) for m in route.mirrors]
    if route.cors is not None:
        out["cors"] = True
    return out


def _mirror(mirror: Mirror) -> str:
    subset = f" subset {mirror.target.subset}" if mirror.target.subset else ""
    return f"{mirror.target.host}{subset} {mirror.share / 10_000:g} %"
