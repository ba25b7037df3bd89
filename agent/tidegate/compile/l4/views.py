"""What clients see of a service port of the fast path: routes, and pools for whom another policy applies. Pure.

A service that is the same for everybody, and has no routes, has no views. Otherwise everybody has one, as a client of
the service's own namespace without labels would, and pods of this node to whom something else applies have theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tidegate.compile.derive import Read
from tidegate.compile.l4.pools import PoolKey, client_of, policy_varies, pool_of
from tidegate.compile.l4.routes import in_order, l4_candidates, l4_owners, looks_at_client
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.tables import CLIENTS
from tidegate.compile.visibility import Source, source_of
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.net import IPNetwork
from tidegate.model.plan.relay import L4Rule, L4Target, L4View
from tidegate.model.routing import RouteTarget, VirtualService, WeightedTarget


@dataclass(frozen=True, slots=True)
class PoolRule:
    """As L4Rule, with the pools themselves; None: the service that was dialled."""

    targets: tuple[tuple[PoolKey | None, int], ...]
    names: tuple[str, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolView:
    rules: tuple[PoolRule, ...]
    clients: tuple[int, ...] = ()


PoolViews = Mapping[int, tuple[PoolView, ...]]  # by address family


def views_of(read: Read, service: Service, port: ServicePort) -> PoolViews:
    """What clients see of a service port; empty if that is the service itself."""
    rules = Rules(read)
    owners = l4_owners(rules, service, port)
    varies = policy_varies(read, service)
    if not owners and not varies:
        return {}
    found: dict[int, tuple[PoolView, ...]] = {}
    # A headless service has none of its own: its pods' may be of either family.
    for version in dict.fromkeys(a.version for a in service.addresses) or (4, 6):
        made = _views(read, owners, service, port, version)
        if made:
            found[version] = made
    return found


def _views(
    read: Read, owners: list[VirtualService], service: Service, port: ServicePort, version: int
) -> tuple[PoolView, ...]:
    def seen_by(source: Source) -> tuple[PoolRule, ...]:
        return rules_of(read, owners, service, port, source, version)

    return views_for(read, seen_by, service, depends_on_client(read, owners, service, port))


def views_for(
    read: Read, seen_by: Callable[[Source], tuple[PoolRule, ...]], service: Service, depends: bool
) -> tuple[PoolView, ...]:
    """A view for everybody, and those of clients who see something else. depends: whether any may. None at all if
    everybody sees the service itself."""
    everybody = seen_by(Source(service.id.namespace))
    others: dict[tuple[PoolRule, ...], list[int]] = {}
    if depends:
        for cookie, pod in read.all(CLIENTS).items():
            rules = seen_by(source_of(read, pod))
            if rules != everybody:
                others.setdefault(rules, []).append(cookie)
    views = sorted(
        (PoolView(rules, tuple(sorted(cookies))) for rules, cookies in others.items()), key=lambda v: v.clients
    )
    return (*views, PoolView(everybody)) if everybody or views else ()


def depends_on_client(read: Read, owners: list[VirtualService], service: Service, port: ServicePort) -> bool:
    """Quick look whether clients could see anything but the same."""
    if looks_at_client(Rules(read), owners, port) or policy_varies(read, service):
        return True
    registry = Registry(read)
    hosts = {registry.behind(t.target).host for vs in owners for r in (*vs.tcp, *vs.tls) for t in r.targets}
    targets = (registry.services.get(host) for host in sorted(hosts))
    return any(policy_varies(read, target) for target in targets if target is not None)


def rules_of(
    read: Read, owners: list[VirtualService], service: Service, port: ServicePort, source: Source, version: int
) -> tuple[PoolRule, ...]:
    """What one client sees of a service port; no rules: the service itself."""
    registry, rules = Registry(read), Rules(read)

    def pools(targets: tuple[WeightedTarget, ...]) -> tuple[tuple[PoolKey | None, int], ...]:
        weighted = [(t, t.weight) for t in targets if t.weight] if len(targets) > 1 else [(t, 1) for t in targets]
        return tuple((pool_of(registry, rules, t.target, (service, port), source, version), w) for t, w in weighted)

    conditions = in_order(l4_candidates(rules, owners, port, source))
    out = [PoolRule(pools(c.candidate.route.targets), c.names, c.subnets) for c in conditions]
    own: PoolKey | None = None
    if client_of(rules, service, source):
        own = pool_of(registry, rules, RouteTarget(service.id.fqdn, port.port), (service, port), source, version)
    if not out:
        return (PoolRule(((own, 1),)),) if own else ()
    if port.protocol is not Protocol.TLS and (out[-1].names or out[-1].subnets):
        out.append(PoolRule(((own, 1),)))  # what no route takes goes to the service; of TLS nowhere, as upstream has it
    return tuple(out)


def pools_of(views: PoolViews) -> Iterator[PoolKey]:
    """Every pool that some rule leads to."""
    for version in views.values():
        for view in version:
            for rule in view.rules:
                yield from (key for key, _ in rule.targets if key is not None)


def with_numbers(
    views: PoolViews, number: Callable[[str], int], own: Callable[[int], int]
) -> dict[int, tuple[L4View, ...]]:
    """The views as the relay is told them. number: of a pool; own: of the service itself in an address family."""

    def rule_of(rule: PoolRule, version: int) -> L4Rule:
        targets = (L4Target(number(str(key)) if key else own(version), weight) for key, weight in rule.targets)
        return L4Rule(tuple(targets), rule.names, rule.subnets)

    return {
        version: tuple(L4View(tuple(rule_of(rule, version) for rule in view.rules), view.clients) for view in found)
        for version, found in views.items()
    }
