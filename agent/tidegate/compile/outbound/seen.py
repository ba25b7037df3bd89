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
from itertools import chain
from operator import is_not
from typing import Final

from tidegate.compile.derive import Read
from tidegate.compile.envoy import private
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.facts import Facts
from tidegate.compile.l4.carried import envoy_carries, everybody, may_be_carried
from tidegate.compile.outbound.destinations import Claim, Destinations
from tidegate.compile.outbound.sights import Followed, Outlook
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


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """The rows of one scope, and what they were made of."""

    rows: tuple[Destination, ...] = ()
    anywhere: tuple[Destination, ...] = ()  # those of them by which Envoy refuses what is unknown
    claims: Mapping[str, tuple[Tier, tuple[Destination, ...], tuple[Destination, ...]]] = field(default_factory=dict)
    seen: Outlook | None = None
    changes: int = 0  # of it
    by_envoy: frozenset[str] = frozenset()
    places: object = None


class FindScopes:
    """Finds scopes again and again; what did not change is the same object."""

    def __init__(self) -> None:
        self._last = Scoping()
        self._special: tuple[tuple[object, ...], tuple[Claim, ...]] = ((), ())  # what it was made of, and it
        self._narrowed: tuple[object, bool] = (None, False)  # services, and whether any is not everybody's
        self._followed = Followed()
        self._rows: tuple[Destination, ...] = ()
        self._by_place: Mapping[tuple[object, int], Destination] = {}
        self._seen: dict[ViewKey, Outlook] = {}
        self._copies: dict[tuple[int, bool], Copies] = {}

    def __call__(self, facts: Facts, found: Destinations) -> Scoping:
        made = self._scoping(facts, found)
        last = self._last
        self._last = Scoping(
            last.pods if made.pods == last.pods else made.pods,
            last.rows if _alike(made.rows, last.rows) else made.rows,
            last.elsewhere if made.elsewhere == last.elsewhere else made.elsewhere,
            last.carried if made.carried == last.carried else made.carried,
        )
        return self._last

    def _carried(self, facts: Facts, found: Destinations) -> tuple[Claim, ...]:
        """Claims that Envoy may carry for somebody; looked for again only where something that decides changed."""
        made_of = (
            found.claims,
            facts.destination_rules,
            facts.virtual_services,
            facts.services,
            facts.envoy_filters,
            facts.mesh_config,  # it may say of localities what rules do not
        )
        before, claims = self._special
        if len(before) != len(made_of) or any(map(is_not, before, made_of)):
            read = facts.read
            relayed = (claim for claim in found.claims if claim.tier is Tier.FASTPATH)
            claims = tuple(claim for claim in relayed if may_be_carried(read, claim.service, claim.port))
            self._special = (made_of, claims)
        return claims

    def _scoping(self, facts: Facts, found: Destinations) -> Scoping:
        read, special = facts.read, self._carried(facts, found)
        if self._narrowed[0] is not facts.services:
            self._narrowed = (facts.services, narrowed(facts))
        # Whether anything could be hidden from anybody, or be otherwise for some than for the mesh.
        hiding = bool(facts.sidecars) or mesh_config(read).services_to != EVERYBODY or self._narrowed[1]
        if not hiding and not mesh_config(read).registry_only and not special:
            self._forget()
            return Scoping(rows=found.rows)
        sources = {s.id: source_of(read, facts.pods[s.id]) for s in facts.sandboxes if facts.enrolment(s.id).enrolled}
        seen = self._see(facts, found, sources.values(), hiding=hiding)
        carried = {pod: _carried_for(read, source, special, seen[source.view]) for pod, source in sources.items()}
        usual = {c.name for c in special if envoy_carries(read, c.service, c.port, everybody(c.service))}
        keys: dict[WorkloadId, ViewKey] = {
            pod: (*source.view, *_other_than(usual.intersection(seen[source.view].claims), carried[pod]))
            for pod, source in sources.items()
        }
        views = {source.view: source for source in sources.values()}
        wide: dict[ViewKey, tuple[Destination, ...]] = {
            view: _seen_ranges(read, source, found) if hiding else found.range_rows for view, source in views.items()
        }
        groups = _groups({keys[pod]: source for pod, source in sources.items()}, seen, wide, read)
        everything = len(found.claims), len(found.range_rows)
        own = {
            one
            for one in groups.values()
            if (len(seen[one[:_PLAIN]].claims), len(wide[one[:_PLAIN]])) != everything or one[_PLAIN:]
        }
        numbers = scope_numbers(own)
        by_envoy = {keys[pod]: frozenset(claim.name for claim in claims) for pod, claims in carried.items()}
        strict = {keys[pod]: registry_only(read, source.sidecar) for pod, source in sources.items()}
        self._copies = {
            (number, strict[one]): self._copy((number, strict[one]), seen[one[:_PLAIN]], by_envoy[one])
            for one in sorted(set(groups.values()))
            if (number := numbers.get(one, 0)) != NO_SCOPE and (number or strict[one])
        }
        of_ranges = {
            numbers[one]: [replace(row, scope=numbers[one]) for row in wide[one[:_PLAIN]]]
            for one in own
            if numbers[one] != NO_SCOPE
        }
        pods = {pod: Sight(numbers.get(groups[key], 0), strict[key]) for pod, key in keys.items()}
        return Scoping(
            {pod: sight for pod, sight in pods.items() if sight != EVERYTHING},
            tuple(chain(found.rows, *(made.rows for made in self._copies.values()), *of_ranges.values())),
            tuple(sorted({row.port for made in self._copies.values() for row in made.anywhere})),
            {pod: claims for pod, claims in carried.items() if claims},
        )

    def _forget(self) -> None:
        """Nobody has a scope."""
        self._followed, self._rows, self._by_place = Followed(), (), {}
        self._seen, self._copies = {}, {}

    def _see(
        self, facts: Facts, found: Destinations, sources: Iterable[Source], *, hiding: bool
    ) -> Mapping[ViewKey, Outlook]:
        """What each view sees now."""
        self._followed.follow(found.claims, facts.rules_by_target)
        if found.rows is not self._rows:
            self._rows, self._by_place = (
                found.rows,
                {(row.address, row.port): row for row in found.rows if row.bits == WHOLE},
            )
        views = {source.view: source for source in sources}
        wanted = views if hiding else {_ALL.view: _ALL}
        self._seen = {view: self._seen.get(view) or Outlook() for view in wanted}
        for view, source in wanted.items():
            self._seen[view].follow(facts.read, source, self._followed)
        return self._seen if hiding else dict.fromkeys(views, self._seen[_ALL.view])

    def _copy(self, key: tuple[int, bool], seen: Outlook, by_envoy: frozenset[str]) -> Copies:
        """The rows of a scope, and those by which what is unknown is refused."""
        before, places = self._copies.get(key, _NO_COPIES), self._by_place
        if (
            before.seen is seen
            and (before.changes, before.by_envoy) == (seen.changes, by_envoy)
            and before.places is places
        ):
            return before
        (number, strict), made = key, {}
        for name in sorted(seen.claims, key=self._followed.places.__getitem__) if number else ():
            claim = seen.claims[name]
            rows = tuple(places[address, claim.port.port] for address in claim.addresses)
            tier = claim.tier
            if tier is Tier.FASTPATH:
                tier = Tier.ENVOY if name in by_envoy else Tier.FASTPATH
            known = before.claims.get(name)
            if known is None or known[0] is not tier or len(known[1]) != len(rows) or any(map(is_not, known[1], rows)):
                known = (tier, rows, tuple(_copied(row, tier, number) for row in rows))
            made[name] = known
        ports = http_ports(seen.claims.values()) if strict else ()
        anywhere = tuple(Destination(ANYWHERE, port, Tier.ENVOY, 0, scope=number) for port in ports)
        anywhere = before.anywhere if anywhere == before.anywhere else anywhere
        rows = tuple(chain(*(copied for _, _, copied in made.values()), anywhere))
        return Copies(rows, anywhere, made, seen, seen.changes, by_envoy, places)


_ALL: Final = Source("")
_NO_COPIES: Final = Copies()


def _copied(row: Destination, tier: Tier, number: int) -> Destination:
    """A row as those of a scope see it. What is refused by connect() is for everybody."""
    return replace(row, scope=number, tier=row.tier if row.tier is Tier.REFUSE else tier)


def _groups(
    views: Mapping[ViewKey, Source],
    seen: Mapping[ViewKey, Outlook],
    wide: Mapping[ViewKey, tuple[Destination, ...]],
    read: Read,
) -> dict[ViewKey, ViewKey]:
    """For each view the first one, in alphabetical order, for which all is as it is for it: they share a scope."""
    first: dict[object, ViewKey] = {}
    out = {}
    for view in sorted(views):
        plain, strict = view[:_PLAIN], registry_only(read, views[view].sidecar)
        like = (seen[plain].mark, len(seen[plain].claims), wide[plain], view[_PLAIN:], strict)
        out[view] = first.setdefault(like, view)
    return out


def _alike(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether they have the same members."""
    return len(one) == len(other) and not any(map(is_not, one, other))


def _carried_for(read: Read, source: Source, special: tuple[Claim, ...], seen: Outlook) -> tuple[Claim, ...]:
    """Those that Envoy carries for a client."""
    there = (claim for claim in special if claim.name in seen.claims)
    return tuple(claim for claim in there if envoy_carries(read, claim.service, claim.port, source))


def _other_than(usual: set[str], carried: tuple[Claim, ...]) -> tuple[str, ...]:
    """A word for the ports at which a client has another tier than everybody; none if there are none."""
    different = usual ^ {claim.name for claim in carried}
    return (blake2s(" ".join(sorted(different)).encode(), digest_size=8).hexdigest(),) if different else ()


def narrowed(facts: Facts) -> bool:
    """Whether any service says itself for whom it exists. Looks at every one."""
    return any(service.export_to not in ((), EVERYBODY) for service in facts.services.values())


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
