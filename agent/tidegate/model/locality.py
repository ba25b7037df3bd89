"""Where things stand, and which endpoints a client would rather use for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
HOSTNAME = "kubernetes.io/hostname"
# Labels that a node has, and not the pods on it: equal for all clients of a node.
TOPOLOGY = (REGION, ZONE, SUBZONE, HOSTNAME)
# A pod that says so itself: REGION/ZONE/SUBZONE, or with dots where a label may have no slash.
OWN_LOCALITY = "istio-locality"


class Locality(NamedTuple):
    """Empty parts: nobody says."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """Of REGION[/ZONE[/SUBZONE]]; dots stand for slashes if there is no slash."""
        parts = text.split("/" if "/" in text else ".", 2)
        return cls(*[*parts, "", ""][:3])

    def fits(self, pattern: str) -> bool:
        """Whether it is in REGION[/ZONE[/SUBZONE]], any part of which may be *; what is left out is any."""
        wanted = pattern.split("/")
        return all(part in ("*", own) for part, own in zip(wanted, self, strict=False))

    def distance(self, other: Locality) -> int:
        """0 in the same subzone, 1 zone, 2 region, 3 elsewhere."""
        if self.region != other.region:
            return 3
        if self.zone != other.zone:
            return 2
        return 0 if self.subzone == other.subzone else 1


@dataclass(frozen=True, slots=True)
class Share:
    """How clients in a locality spread their requests over localities. Percents are of a hundred together."""

    source: str  # pattern, as Locality.fits() takes it
    to: tuple[tuple[str, int], ...]  # (pattern, percent)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityPreference:
    """localityLbSetting: shares, or an order in which others are used while nobody nearer is healthy."""

    enabled: bool = True
    shares: tuple[Share, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()  # (region of the client, region that it turns to first)
    priority: tuple[str, ...] = ()  # labels that endpoints should share with the client: KEY, or KEY=VALUE for any

    @property
    def client_labels(self) -> frozenset[str]:
        """Labels of the client's pod that decide: clients that differ in them need endpoints of their own."""
        keys = (word for word in self.priority if "=" not in word) if self.enabled and not self.shares else ()
        return frozenset(keys) - {*TOPOLOGY}
