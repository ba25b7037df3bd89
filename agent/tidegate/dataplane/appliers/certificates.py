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

    def __init__(self, certificates: Certificates, ahead: bool = False) -> None:
        """ahead: certificates of all pods are wanted before anything needs them, since who signs is far away."""
        self.serving = self.seen = 0
        self._certificates = certificates
        self._ahead = ahead

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        wanted = plan.identities | plan.accounts if self._ahead else plan.identities
        self._certificates.want(wanted, plan.trust_domain)
        missing = {one: why for one, why in self._certificates.missing().items() if one in plan.identities}
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
