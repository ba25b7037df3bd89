"""What validation says of the tcp and tls routes of a VirtualService, beyond the shape of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.config import messages as say
from tidegate.config.links import Links
from tidegate.config.named_services import services_of
from tidegate.config.schema import ApiModel, Finding, Report
from tidegate.config.shapes.l4_route import TcpRouteDoc, TlsRouteDoc
from tidegate.model.hosts import host_matches, specificity
from tidegate.model.kube import Protocol
from tidegate.model.net import IPNetwork
from tidegate.model.routing import L4Match, L4Route, RouteTarget, VirtualService
from tidegate.model.traffic import DestinationRule, Tunnel

_HOW = {
    "tcp": 'declare it as TCP, by the name tcp (or "tcp-...") or by its appProtocol',
    "tls": 'declare it as TLS, by the name tls or https (or "tls-...") or by its appProtocol',
}


def l4_targets(vs: VirtualService) -> Iterator[tuple[RouteTarget, str]]:
    """Every destination of tcp and tls routes, and its path."""
    for key, routes in (("tcp", vs.tcp), ("tls", vs.tls)):
        for index, route in enumerate(routes):
            for i, weighted in enumerate(route.targets):
                yield weighted.target, f"spec.{key}[{index}].route[{i}].destination"


def tell_idle_subnets(routes: Sequence[TcpRouteDoc | TlsRouteDoc], report: Report) -> None:
    """Conditions that no gateway looks at, of a rule that is for gateways only."""
    for match in (match for route in routes for match in route.match):
        if match.destination_subnets:
            why = "at a gateway every connection is for the gateway's own address"
            report.say(match, "destinationSubnets", say.NO_EFFECT(why=why))


def tell_order(spec: ApiModel, key: str, routes: Sequence[L4Route], report: Report) -> None:
    """Routes that nothing reaches, and conditions that win although they stand later."""
    taker = 0
    before: list[L4Match] = []
    for index, route in enumerate(routes):
        if taker:
            report.say(spec, (key, index), say.NEVER_REACHED(line=taker))
            continue
        for number, match in enumerate(route.matches):
            _tell_more_special(spec, (key, index, "match", number), match, before, report)
        before += [match for match in route.matches if match.for_everybody]
        if not route.matches or any(m.catches_all and m.for_everybody for m in route.matches):
            taker = route.line


def _tell_more_special(
    spec: ApiModel, at: tuple[str | int, ...], match: L4Match, before: Sequence[L4Match], report: Report
) -> None:
    for earlier in before:
        for name in match.sni_hosts:
            wider = next((h for h in earlier.sni_hosts if h != name and host_matches(h, name)), None)
            if wider and earlier.subnets == match.subnets:
                report.say(spec, at, say.MORE_SPECIAL(what=name, line=earlier.line))
                return
        for subnet in match.subnets:
            if earlier.sni_hosts == match.sni_hosts and any(_is_wider(e, subnet) for e in earlier.subnets):
                report.say(spec, at, say.MORE_SPECIAL(what=subnet, line=earlier.line))
                return


def _is_wider(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.prefixlen < b.prefixlen and b.network_address in a


def unused_routes(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Hosts at which nothing ever asks for these routes."""
    services = [s for host in vs.hosts for s in services_of(links, host)]
    for key, routes in (("tcp", vs.tcp), ("tls", vs.tls)):
        for service in services if routes else ():
            host = service.id.fqdn
            if service.tcp_ports and not any(_has(p.protocol, key) for p in service.tcp_ports):
                yield Finding(vs.origin.line, "spec.hosts", say.NO_L4_PORT(host=host, what=key, how=_HOW[key]))


def mixed_tunnels(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Routes whose destinations are not reached through the same tunnel: a connection's first byte would decide."""
    for key, routes in (("tcp", vs.tcp), ("tls", vs.tls)):
        for index, route in enumerate(routes):
            used = [t.target for t in route.targets if t.weight or len(route.targets) == 1]
            tunnels = [_tunnel(target, links) for target in used]
            other = next((t for t, tunnel in zip(used, tunnels, strict=True) if tunnel != tunnels[0]), None)
            if other is not None:
                said = say.MIXED_TUNNELS(first=_name(used[0]), second=_name(other))
                yield Finding(route.line, f"spec.{key}[{index}].route", said)


def _name(target: RouteTarget) -> str:
    return f"{target.host} (subset {target.subset})" if target.subset else target.host


def _tunnel(target: RouteTarget, links: Links) -> Tunnel | None:
    """As the oldest rule of the most special host says that is for everybody."""
    found = (r for r in links.covering("subsets", target.host) if isinstance(r, DestinationRule) and r.selector is None)
    rules = sorted(found, key=lambda r: (specificity(r.host), r.age, r.namespace, r.name))
    rules = [rule for rule in rules if rule.host == rules[0].host]
    of_subset = next((s for rule in rules if (s := rule.subset(target.subset)) is not None), None)
    if target.subset and of_subset is not None and of_subset.policy.tunnel is not None:
        return of_subset.policy.tunnel
    return next((rule.policy.tunnel for rule in rules if rule.policy.tunnel is not None), None)


def _has(protocol: Protocol, key: str) -> bool:
    return not protocol.is_http and (protocol is Protocol.TLS) is (key == "tls")
