"""What each pod of this node sees of the destinations: numbers of scopes, their rows, and what becomes of the rest.

Most pods see everything: scope 0, whose rows are those of destinations.py. Pods of which a Sidecar or exportTo hides
something share a scope with those that see the same; its rows are copies under its number. What is hidden is unknown
to such a pod, as is what nobody in the registry has: left alone (ALLOW_ANY) or refused (REGISTRY_ONLY), at ports of
HTTP by Envoy, which can say so. A pod to whom another DestinationRule applies than to everybody may need Envoy at a
port where others have the relay, or the other way round: then it has a scope, too, whose rows say so. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from operator import is_not
from typing import Final

from tidegate.compile.derive import Read
from tidegate.compile.envoy import private
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.facts import Facts
from tidegate.compile.l4.carried import envoy_carries, everybody, may_be_carried
from tidegate.compile.outbound.destinations import Claim, Destinations
from tidegate.compile.visibility import Source, mesh_config, registry_only, sees_service, source_of
from tidegate.model.mesh_config import EVERYBODY
from tidegate.model.names import WorkloadId
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.plan.kernel import ANYWHERE, FIRST_SCOPE, LAST_SCOPE, NO_SCOPE, WHOLE, Destination
from tidegate.model.tier import Tier

ViewKey = tuple[str, ...]  # Source.view, and if other ports than everybody's go to Envoy: which, as a digest

_PLAIN: Final = 3  # length of Source.view


@dataclass(frozen=True, slots=True)
class Sight:
    """What a pod sees: the number of its scope, and what becomes of the rest."""

    scope: int = 0
    registry_only: bool = False


EVERYTHING = Sight()


@dataclass(frozen=True, slots=True)
class Scoping:
    """pods: those for which it is not EVERYTHING; elsewhere: ports at which Envoy refuses unknown destinations.
    carried: by pod, the claims without HTTP that Envoy carries for it (compile/l4/carried.py)."""

    pods: Mapping[WorkloadId, Sight] = field(default_factory=dict)
    rows: tuple[Destination, ...] = ()
    elsewhere: tuple[int, ...] = ()
    carried: Mapping[WorkloadId, tuple[Claim, ...]] = field(default_factory=dict)


class FindScopes:
    """Finds scopes again and again; what did not change is the same object."""

    def __init__(self) -> None:
        self._last = Scoping()
        self._special: tuple[tuple[object, ...], tuple[Claim, ...]] = ((), ())  # what it was made of, and it
        self._narrowed: tuple[object, bool] = (None, False)  # services, and whether any is not everybody's

    def __call__(self, facts: Facts, found: Destinations) -> Scoping:
        if self._narrowed[0] is not facts.services:
            self._narrowed = (facts.services, narrowed(facts))
        made = _scoping(facts, found, self._carried(facts, found), self._narrowed[1])
        last = self._last
        self._last = Scoping(
            last.pods if made.pods == last.pods else made.pods,
            last.rows if made.rows == last.rows else made.rows,
            last.elsewhere if made.elsewhere == last.elsewhere else made.elsewhere,
            last.carried if made.carried == last.carried else made.carried,
        )
        return self._last

    def _carried(self, facts: Facts, found: Destinations) -> tuple[Claim, ...]:
        """Claims that Envoy may carry for somebody; looked for again only where something that decides changed."""
        made_of = (found.claims, facts.destination_rules, facts.virtual_services, facts.services)
        before, claims = self._special
        if len(before) != len(made_of) or any(map(is_not, before, made_of)):
            read = facts.read
            relayed = (claim for claim in found.claims if claim.tier is Tier.FASTPATH)
            claims = tuple(claim for claim in relayed if may_be_carried(read, claim.service, claim.port))
            self._special = (made_of, claims)
        return claims


def _scoping(facts: Facts, found: Destinations, special: tuple[Claim, ...], some_narrowed: bool) -> Scoping:
    read = facts.read
    # Whether anything could be hidden from anybody, or be otherwise for some than for the mesh.
    hiding = bool(facts.sidecars) or mesh_config(read).services_to != EVERYBODY or some_narrowed
    if not hiding and not mesh_config(read).registry_only and not special:
        return Scoping(rows=found.rows)
    sources = {s.id: source_of(read, facts.pods[s.id]) for s in facts.sandboxes if facts.enrolment(s.id).enrolled}
    carried = {pod: _carried_for(read, source, special) for pod, source in sources.items()} if special else {}
    usual = {c.name for c in special if envoy_carries(read, c.service, c.port, everybody(c.service))}
    keys: dict[WorkloadId, ViewKey] = {
        pod: (*source.view, *_other_than(usual, carried.get(pod, ()), visible(read, source, special)))
        for pod, source in sources.items()
    }
    views = {keys[pod]: source for pod, source in sources.items()}
    by_envoy = {keys[pod]: {claim.name for claim in claims} for pod, claims in carried.items()}
    seen = {view: visible(read, source, found.claims) if hiding else found.claims for view, source in views.items()}
    wide = {view: _seen_ranges(read, source, found) if hiding else found.range_rows for view, source in views.items()}
    all_seen = len(found.claims), len(found.range_rows)
    numbers = scope_numbers(v for v in views if (len(seen[v]), len(wide[v])) != all_seen or len(v) > _PLAIN)
    strict = {view: registry_only(read, source.sidecar) for view, source in views.items()}
    rows: dict[object, Destination] = {}
    by_place = {(row.address, row.port): row for row in found.rows} if numbers else {}
    for view, claims in seen.items():
        number = numbers.get(view, 0)
        if number == NO_SCOPE:
            continue
        for claim in claims if number else ():
            for address in claim.addresses:
                row = replace(by_place[address, claim.port.port], scope=number)
                if claim.tier is Tier.FASTPATH and row.tier is not Tier.REFUSE:
                    row = replace(row, tier=Tier.ENVOY if claim.name in by_envoy.get(view, ()) else Tier.FASTPATH)
                rows[row.key] = row
        of_ranges = [replace(row, scope=number) for row in (wide[view] if number else ())]
        rows.update((row.key, row) for row in of_ranges)
        for port in http_ports(claims) if strict[view] else ():
            row = Destination(ANYWHERE, port, Tier.ENVOY, 0, scope=number)
            rows[row.key] = row
    pods = {pod: Sight(numbers.get(keys[pod], 0), strict[keys[pod]]) for pod in sources}
    elsewhere = sorted({row.port for row in rows.values() if row.address == ANYWHERE and row.bits == WHOLE})
    return Scoping(
        {pod: sight for pod, sight in pods.items() if sight != EVERYTHING},
        (*found.rows, *rows.values()),
        tuple(elsewhere),
        {pod: claims for pod, claims in carried.items() if claims},
    )


def _carried_for(read: Read, source: Source, special: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Those that Envoy carries for a client."""
    seen = visible(read, source, special)
    return tuple(claim for claim in seen if envoy_carries(read, claim.service, claim.port, source))


def _other_than(usual: set[str], carried: tuple[Claim, ...], seen: tuple[Claim, ...]) -> tuple[str, ...]:
    """A word for the ports at which a client has another tier than everybody; none if there are none."""
    different = usual.intersection(claim.name for claim in seen) ^ {claim.name for claim in carried}
    return (blake2s(" ".join(sorted(different)).encode(), digest_size=8).hexdigest(),) if different else ()


def narrowed(facts: Facts) -> bool:
    """Whether any service says itself for whom it exists. Looks at every one."""
    return any(service.export_to not in ((), EVERYBODY) for service in facts.services.values())


def visible(read: Read, source: Source, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """The claims of what exists for a client."""
    return tuple(claim for claim in claims if sees_service(read, source, claim.service, claim.port.port))


def _seen_ranges(read: Read, source: Source, found: Destinations) -> tuple[Destination, ...]:
    """Rows of ranges some service of which exists for a client."""
    return tuple(
        row
        for one, row in zip(found.ranges, found.range_rows, strict=True)
        if any(sees_service(read, source, service, port.port) for service, port in one.members)
    )


def http_ports(claims: Iterable[Claim]) -> list[int]:
    """Ports at which a client may expect to be answered in HTTP."""
    return sorted({claim.port.port for claim in claims if claim.tier is Tier.ENVOY})


def scope_numbers(views: Iterable[ViewKey]) -> dict[ViewKey, int]:
    """A number for each. It depends on the view, not on its neighbours, so that a pod keeps its scope; a collision
    moves the later one in alphabetical order on by one. NO_SCOPE for those that come too late."""
    taken: dict[int, ViewKey] = {}
    out: dict[ViewKey, int] = {}
    room = LAST_SCOPE - FIRST_SCOPE + 1
    for view in sorted(set(views)):
        if len(taken) == room:
            out[view] = NO_SCOPE
            continue
        number = int.from_bytes(blake2s("/".join(view).encode(), digest_size=4).digest(), "big") % room
        while number + FIRST_SCOPE in taken:
            number = (number + 1) % room
        taken[number + FIRST_SCOPE] = view
        out[view] = number + FIRST_SCOPE
    return out


def elsewhere_name(port: int) -> str:
    """Name of the routes of unknown destinations; no service has it."""
    return f"*:{port}"


def refusal() -> list[Json]:
    """502 for every request, as Istio answers."""
    matches: tuple[Json, ...] = ({"prefix": "/"}, {"connect_matcher": {}})
    return [{"name": "block_all", "match": match, "direct_response": {"status": 502}} for match in matches]


def refused_elsewhere(name: str) -> EnvoyResource:
    """The routes of unknown destinations, where nobody may be meant."""
    host: Json = {
        "name": "block_all",
        "domains": ["*"],
        "metadata": {"filter_metadata": {private.METADATA: {private.SERVICE: name}}},
        "routes": refusal(),
    }
    body: Json = {"name": name, "virtual_hosts": [host], "validate_clusters": False}
    return EnvoyResource(name, body)
