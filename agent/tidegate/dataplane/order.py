"""The order in which the data plane changes, written down once: ORDER. Everything make-before-break follows from it.

prepare goes down the list and only adds and changes; retire comes back up and only takes away. So a tier knows a
service before anything leads to it, and nothing leads to it any more when it forgets.

Envoy's tables are replaced whole, so a route that goes cannot wait for retire: therefore the rows that do not, or no
longer, lead to Envoy stand before it, and those that do behind it
(docs/decisions/0011-rows-stand-on-both-sides-of-envoy.md). The node's DNS comes after all of them: what it answers
leads somewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tidegate.dataplane.changes import Changes
from tidegate.model.plan import Plan
from tidegate.model.status import Outcomes

CERTIFICATES = "certificates"
POLICIES = "policies"
RELAY = "relay"
PAST_ENVOY = "destinations past envoy"
PAST_INBOUND = "inbound ports past envoy"
ENVOY = "envoy"
TO_ENVOY = "destinations to envoy"
FROM_ELSEWHERE = "inbound ports to envoy"
GUARDS = "guards of pods"
DNS = "dns"
ENROLMENT = "enrolment"

ORDER = (
    CERTIFICATES,
    POLICIES,
    PAST_INBOUND,
    RELAY,
    PAST_ENVOY,
    ENVOY,
    TO_ENVOY,
    FROM_ELSEWHERE,
    GUARDS,
    DNS,
    ENROLMENT,
)


class Applier(Protocol):
    """One part of the data plane. It never waits for another machine or process to become ready: what is not ready is
    PENDING, and whoever makes it ready wakes the cycle."""

    @property
    def name(self) -> str:
        """One of ORDER."""

    @property
    def serving(self) -> int:
        """Generation of the plan that is in force here."""

    @property
    def seen(self) -> int:
        """Newest generation that it is through with, be it applied or refused."""

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """Add and change what differs, and try again what is dirty and due. Returns what is not in force.

        changed: differences to the plan of the last call that returned.
        """

    async def retire(self, plan: Plan) -> Outcomes:
        """Take away what the plan does not want and nothing leads to any more. Returns what could not go."""

    def next_due(self) -> float | None:
        """Monotonic time at which it wants to be called although nothing changed; None = never."""


def in_order(appliers: Iterable[Applier]) -> tuple[Applier, ...]:
    """The appliers as ORDER wants them. ValueError for a name that is not in it, or twice."""
    ordered = tuple(sorted(appliers, key=lambda applier: ORDER.index(applier.name)))
    names = [applier.name for applier in ordered]
    if len(set(names)) < len(names):
        raise ValueError(f"an applier twice: {names}")
    return ordered
