"""What the fast path relayed, by client pod and service: the dashboard's figures per pair.

Told of sums over connections that are alike, one dictionary look-up each. Invariant: bounded; the pair that was
seen first goes when there are too many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.relay.events import CloseReason, FlowEvent

LIMIT = 4096  # pairs


@dataclass(slots=True)
class PairTotals:
    """Sums over the connections of one pair."""

    ended: int = 0
    failed: int = 0  # of these, not ended by both sides
    bytes_to_server: int = 0
    bytes_to_client: int = 0


PairKey = tuple[int, str]  # netns cookie of the client, FQDN:port of the service ("" = none that is known)


class Pairs:
    """Totals since the agent started."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._totals: dict[PairKey, PairTotals] = {}

    def observe(self, flow: FlowEvent, service: str) -> None:
        """Count connections that ended, and the bytes of those that live as well."""
        totals = self._totals.get((flow.netns_cookie, service))
        if totals is None:
            if len(self._totals) >= self._limit:
                del self._totals[next(iter(self._totals))]
            totals = self._totals[flow.netns_cookie, service] = PairTotals()
        totals.ended += flow.connections
        totals.failed += flow.connections if flow.reason is not CloseReason.OK else 0
        totals.bytes_to_server += flow.bytes_to_server
        totals.bytes_to_client += flow.bytes_to_client

    def totals(self) -> Mapping[PairKey, PairTotals]:
        return self._totals
