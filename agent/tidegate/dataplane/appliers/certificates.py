"""Certificates of the pods' identities: says which are needed, and what is still missing. First of all appliers, so
that they are there, or on their way, when Envoy hears of whom they are for.
"""

from __future__ import annotations

from tidegate.dataplane.changes import Changes
from tidegate.dataplane.devices import Certificates
from tidegate.dataplane.order import CERTIFICATES
from tidegate.model.plan import Plan
from tidegate.model.status import Outcome, Outcomes, State


class CertificatesApplier:
    """The applier of certificates."""

    name = CERTIFICATES

    def __init__(self, certificates: Certificates) -> None:
        self.serving = self.seen = 0
        self._certificates = certificates

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        self._certificates.want(plan.identities, plan.trust_domain)
        missing = self._certificates.missing()
        if all(missing.values()):
            self.seen = plan.generation
        if not missing:
            self.serving = plan.generation
        return tuple(
            Outcome(one.spiffe(plan.trust_domain), State.FAILED if why else State.PENDING, why or "is being issued")
            for one, why in missing.items()
        )

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier: what nobody needs is forgotten in prepare, since Envoy keeps what it has."""
        return ()

    def next_due(self) -> float | None:
        """See order.Applier: who issues them has a back-off of his own, and wakes the cycle."""
        return None
