"""Which tcp or tls route a connection takes, and where it lands: from the rules, not from what the relay was told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.explain.explanation import Peer, RouteDestination, Rule
from tidegate.compile.explain.policy import left_out
from tidegate.compile.l4.pools import as_dialled, pool_members, pool_of
from tidegate.compile.l4.routes import L4Condition, in_order, kind_of_routes, l4_candidates, l4_owners
from tidegate.compile.l4.settings import l4_balancing
from tidegate.compile.outbound.destinations import Claim
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules, balancer
from tidegate.compile.visibility import Source
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.routing import RouteTarget


@dataclass(frozen=True, slots=True)
class Connection:
    """What routes look at: the dialled address, and the name that a TLS client asks for ("" = none)."""

    address: IPAddress
    name: str = ""


@dataclass(frozen=True, slots=True)
class L4Choice:
    """refused: there are routes for this client, and none is for this connection. told: VirtualService, line, tcp or
    tls, index and why not ("" = it fits), as far as they were looked at."""

    rule: Rule | None
    targets: tuple[tuple[RouteTarget, float], ...] = ()  # with their percentage
    told: tuple[tuple[Origin, int, str, int, str], ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a part of the connections ends."""

    destination: RouteDestination
    endpoints: tuple[Peer, ...]
    policies: tuple[Origin, ...]
    says: str


def choose_l4(rules: Rules, claim: Claim, source: Source, connection: Connection) -> L4Choice:
    """The route of a connection to what was dialled."""
    own = ((RouteTarget(claim.service.id.fqdn, claim.port.port), 100.0),)
    owners = l4_owners(rules, claim.service, claim.port)
    conditions = in_order(l4_candidates(rules, owners, claim.port, source))
    kind = kind_of_routes(claim.port)
    told = []
    for condition in conditions:
        candidate = condition.candidate
        refusal = condition.refusal(connection.address, connection.name)
        told.append((candidate.vs.origin, candidate.line, kind, candidate.index, refusal))
        if not refusal:
            return L4Choice(_rule(condition, kind), _shares(condition), tuple(told))
    if conditions and kind == "tls":
        return L4Choice(Rule(conditions[-1].candidate.vs.origin), (), tuple(told), refused=True)
    return L4Choice(None, own, tuple(told))


def _rule(condition: L4Condition, kind: str) -> Rule:
    candidate = condition.candidate
    vs = candidate.vs
    origin = replace(vs.origin, line=candidate.route.line or vs.origin.line)
    match = None if candidate.match_index < 0 else candidate.match_index
    return Rule(origin, candidate.index, match, f"{vs.namespace}/{vs.name}[{candidate.index}]", kind)


def _shares(condition: L4Condition) -> tuple[tuple[RouteTarget, float], ...]:
    targets = condition.candidate.route.targets
    if len(targets) == 1:
        return ((targets[0].target, 100.0),)
    total = sum(t.weight for t in targets)
    return tuple((t.target, 100.0 * t.weight / total) for t in targets if t.weight)


def landing(
    registry: Registry, rules: Rules, claim: Claim, source: Source, dialled: Peer, target: RouteTarget, percent: float
) -> Landing:
    """Where the connections of a target end. dialled: by the client; an address, or a name for any that it may have."""
    version = 6 if ":" in dialled.address else 4
    key = pool_of(registry, rules, target, (claim.service, claim.port), source, version)
    cluster = str(ClusterKey(key.fqdn, key.port, key.subset, key.client))
    destination = RouteDestination(key.fqdn, key.port, key.subset, percent, cluster)
    service = registry.services.get(key.fqdn)
    found = pool_members(registry, rules, key)
    label = f"{cluster} ({percent:g} %)"
    if service is None or found is None:
        what = "no DestinationRule defines the subset" if key.subset and service else "no such service port"
        return Landing(destination, (), (), f"{label}: {what}, the connection is reset (no_endpoint)")
    policy = rules.policy_of(service.id, source)
    if straight := as_dialled(registry, rules, key):
        there = Peer(dialled.address, straight[0].port or dialled.port, dialled.pod, key.subset)
        return Landing(
            destination, (there,), policy.origins, f"{label}: the address that was dialled, whoever is there"
        )
    settings = policy.for_port(key.port, key.subset)
    how = l4_balancing(balancer(service, settings, rules.mesh)).name.lower()
    peers = tuple(
        sorted({Peer(str(e.address), e.port, e.name, key.subset) for e in found}, key=lambda p: (p.address, p.port))
    )
    says = f"{label}: {how} over {len(peers)} endpoints"
    if settings.outlier is not None:
        says += f", {left_out(settings.outlier, len(peers), rules.mesh.compat)}"
    return Landing(destination, peers, policy.origins, says)
