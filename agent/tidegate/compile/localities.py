"""The endpoints that a client may be sent to, by where they stand and in the order in which they are used. Pure.

As upstream: shares (distribute) hold whatever is healthy; an order holds where outlier detection finds out who is not,
and then it is there unless localityLbSetting, of the rule or else of the mesh, says enabled: false (decision 21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from tidegate.compile.derive import Read
from tidegate.compile.facts import Endpoint
from tidegate.compile.nearness import here, locality, topology
from tidegate.compile.tables import HERE
from tidegate.model.locality import TOPOLOGY, Locality, LocalityPreference, Share
from tidegate.model.traffic import TrafficPolicy

Members = tuple[Endpoint, ...]
_USUAL = LocalityPreference()
_OTHERS_FIRST, _DISTANCES = 4, 5  # a region that is not the one to turn to is further than any other; count of them


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that stand in one place and are used at one time. weight: among groups of the same priority."""

    members: Members
    place: Locality | None = None  # None: it does not matter
    priority: int = 0
    weight: int = 0


def is_weighted(settings: TrafficPolicy) -> bool:
    """Whether a cluster has to look at the weights of groups."""
    wanted = _preference(settings)
    ordered = bool(wanted.failover or wanted.priority) and settings.outlier is not None
    return wanted.enabled and bool(wanted.shares or ordered)


def spread(read: Read, settings: TrafficPolicy, members: Members, labels: Mapping[str, str]) -> tuple[Group, ...]:
    """labels: of the client, those by which its endpoints are put in order."""
    wanted = _preference(settings)
    if not members:
        return ()
    if wanted.enabled and wanted.shares:
        share = next((s for s in wanted.shares if here(read).fits(s.source)), None)
        groups = _places(read, members)
        return groups if share is None else _shared(groups, share)
    if not wanted.enabled or settings.outlier is None:
        return (Group(members, weight=_weight(members)),)
    return _ordered(read, wanted, members, labels)


def _weight(members: Iterable[Endpoint]) -> int:
    return sum(member.weight for member in members)


def _preference(settings: TrafficPolicy) -> LocalityPreference:
    return settings.near or _USUAL


def _places(read: Read, members: Members) -> tuple[Group, ...]:
    by_place: dict[Locality, list[Endpoint]] = {}
    for member in members:
        by_place.setdefault(locality(read, member), []).append(member)
    return tuple(Group(tuple(found), place, 0, _weight(found)) for place, found in sorted(by_place.items()))


def _shared(groups: tuple[Group, ...], share: Share) -> tuple[Group, ...]:
    """What a pattern gets is split among its places by their endpoints; who fits none gets nothing."""
    left, out = list(groups), []
    for pattern, percent in share.to:
        fitting = [g for g in left if g.place is not None and g.place.fits(pattern)]
        left = [g for g in left if g not in fitting]
        total = sum(g.weight for g in fitting)
        out += [Group(g.members, g.place, 0, ceil(g.weight * percent / total)) for g in fitting]
    return tuple(sorted(out, key=lambda g: g.place or Locality()))


def _ordered(read: Read, wanted: LocalityPreference, members: Members, labels: Mapping[str, str]) -> tuple[Group, ...]:
    found: dict[tuple[int, Locality], list[Endpoint]] = {}
    for member in members:
        rank = _by_labels(read, wanted, member, labels)
        place = locality(read, member)
        if wanted.failover or not wanted.priority:
            rank = rank * _DISTANCES + _by_place(here(read), place, wanted)
        found.setdefault((rank, place), []).append(member)
    ranks = sorted({rank for rank, _ in found})
    if len(ranks) == 1 and not is_ranked(wanted):
        return (Group(members, weight=_weight(members)),)
    return tuple(
        Group(tuple(those), place, ranks.index(rank), _weight(those)) for (rank, place), those in sorted(found.items())
    )


def is_ranked(wanted: LocalityPreference) -> bool:
    """Whether an order was asked for, not only the usual one."""
    return bool(wanted.failover or wanted.priority)


def _by_place(own: Locality, place: Locality, wanted: LocalityPreference) -> int:
    distance = own.distance(place)
    turned_to = next((to for source, to in wanted.failover if source == own.region), None)
    if distance == _OTHERS_FIRST - 1 and turned_to not in (None, place.region):
        return _OTHERS_FIRST
    return distance


def _by_labels(read: Read, wanted: LocalityPreference, member: Endpoint, labels: Mapping[str, str]) -> int:
    """0 for who has all of the labels, else the more the earlier the first is that it has not."""
    node = topology(read, read(HERE, "") or "")
    for number, word in enumerate(wanted.priority):
        key, given, value = word.partition("=")
        own = value if given else node[key] if key in TOPOLOGY else labels.get(key, "")
        its = topology(read, member.node)[key] if key in TOPOLOGY else member.labels.get(key, "")
        if own != its:
            return len(wanted.priority) - number
    return 0
