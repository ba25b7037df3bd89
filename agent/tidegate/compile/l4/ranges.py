"""Ranges as services of the relay: found by number, because no address names them (compile/ranges.py). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.compile.derive import Read, derived
from tidegate.compile.l4.pools import PoolKey, policy_varies, pool, pool_of
from tidegate.compile.l4.routes import L4Condition, in_order, l4_candidates, l4_owners, looks_at_client, rank
from tidegate.compile.l4.views import PoolRule, PoolViews, depends_on_client, pools_of, views_for, with_numbers
from tidegate.compile.l4.views import rules_of as rules_of_port
from tidegate.compile.ranges import Range, by_name, ranges
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.tables import NUMBERS, SIDECARS
from tidegate.compile.visibility import Source, mesh_config, registry_only, sees_service
from tidegate.model.mesh_config import EVERYBODY
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Endpoint, L4Service, LoadBalancing
from tidegate.model.routing import RouteTarget, VirtualService
from tidegate.model.service_entry import Speech

_FAMILY = 4  # of pools: what is dialled may be of either, and a pool without endpoints of one has those of the other


@derived
def range_views(read: Read, name: str) -> PoolViews:
    """What clients see of a range of the relay."""
    found = read(by_name, "")[name]
    service, port = found.members[0]
    if not found.goes_by_name:
        owners = l4_owners(Rules(read), service, port)
        depends = depends_on_client(read, owners, service, port)
        made = views_for(
            read, lambda source: rules_of_port(read, owners, service, port, source, _FAMILY), service, depends
        )
    else:
        made = views_for(read, lambda source: rules_by_name(read, found, source), service, _differs(read, found))
    return {_FAMILY: made} if made else {}


def rules_by_name(read: Read, found: Range, source: Source) -> tuple[PoolRule, ...]:
    """Where a client's connections go by the name that it asks for: as routes say, else to the host of that name."""
    registry, rules = Registry(read), Rules(read)
    seen = [(s, p) for s, p in found.members if sees_service(read, source, s, p.port)]
    ranked: list[tuple[tuple[int, int, int], PoolRule]] = []
    for service, port in seen:
        own = RouteTarget(service.id.fqdn, port.port)
        conditions = in_order(l4_candidates(rules, l4_owners(rules, service, port), port, source))
        for condition in conditions:
            targets = _targets(condition)
            pools = tuple((pool_of(registry, rules, t, (service, port), source, _FAMILY), w) for t, w in targets)
            ranked.append(
                (rank(condition.subnets, condition.names), PoolRule(pools, condition.names, condition.subnets))
            )
        if not conditions:
            key = pool_of(registry, rules, own, (service, port), source, _FAMILY)
            names = (service.id.fqdn,)
            ranked.append((rank((), names), PoolRule(((key, 1),), names)))
    ranked.sort(key=lambda pair: pair[0])
    out = list(dict.fromkeys(rule for _, rule in ranked))
    if not registry_only(read, source.sidecar):
        out.append(PoolRule(((None, 1),)))  # to where it was dialled, as if there were no such range
    return tuple(out)


def _targets(condition: L4Condition) -> Iterator[tuple[RouteTarget, int]]:
    targets = condition.candidate.route.targets
    return ((t.target, t.weight if len(targets) > 1 else 1) for t in targets if t.weight or len(targets) == 1)


def _differs(read: Read, found: Range) -> bool:
    """Quick look whether clients could see anything but the same."""
    rules, default = Rules(read), mesh_config(read).services_to
    if read.all(SIDECARS) or any((s.export_to or default) != EVERYBODY for s, _ in found.members):
        return True
    return any(
        policy_varies(read, s) or looks_at_client(rules, owners := l4_owners(rules, s, p), p) or _leads_on(read, owners)
        for s, p in found.members
    )


def _leads_on(read: Read, owners: list[VirtualService]) -> bool:
    registry = Registry(read)
    hosts = {registry.behind(t.target).host for vs in owners for r in (*vs.tcp, *vs.tls) for t in r.targets}
    return any(policy_varies(read, s) for h in hosts if (s := registry.services.get(h)) is not None)


@derived
def range_service(read: Read, name: str) -> L4Service:
    """A range of the relay as the relay is told it. Without a rule for them connections go where they were dialled."""
    found = read(by_name, "")[name]
    number = read(NUMBERS, name) or 0
    views = with_numbers(read(range_views, name), lambda name: read(NUMBERS, name) or 0, lambda _: number)
    service, port = found.members[0]
    anywhere = ((ANYWHERE, found.port),)
    if found.goes_by_name:
        straight = (L4Endpoint(ANYWHERE, 0),)
        made = L4Service(number, found.told_as, anywhere, LoadBalancing.RANDOM, straight, counted_as=number)
    else:
        key = PoolKey(service.id.fqdn, port.port, version=_FAMILY)
        made = pool(Registry(read), Rules(read), key, {str(key): number, key.counter: number})
    return replace(made, addresses=anywhere, views=views.get(_FAMILY, ()))


@derived
def range_pools(read: Read, _: str) -> tuple[PoolKey, ...]:
    """Where the routes of all ranges lead."""
    names = relayed_ranges(read)
    return tuple(dict.fromkeys(key for name in names for key in pools_of(read(range_views, name))))


def relayed_ranges(read: Read) -> tuple[str, ...]:
    """Names of those that the relay serves."""
    return tuple(found.name for found in read(ranges, "") if found.speech is not Speech.HTTP)
