"""Envoy's resources. What it answers comes later and wakes the cycle: nobody waits for it here.

A listener that leaves the plan stays published while its pod is captured and some row leads to Envoy, with all that it
leads to itself: a connection that is sent to Envoy finds somebody there. What a listener had for connections without
HTTP stays in it (kept_chains.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.compile.envoy.identities import identity_secrets
from tidegate.dataplane.appliers.kept_chains import with_kept
from tidegate.dataplane.changes import Changes
from tidegate.dataplane.devices import Certificates, Envoy
from tidegate.dataplane.order import ENVOY
from tidegate.dataplane.shadow import Shadow
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS, EnvoyResource, Resources, ResourcesByName, overlaid
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.model.tier import Tier
from tidegate.runtime.clock import Clock

ANSWER_SECONDS = 3.0  # an Envoy that says nothing for longer is reported


class EnvoyResources:
    """The applier of Envoy."""

    name = ENVOY

    def __init__(self, envoy: Envoy, shadow: Shadow, clock: Clock, certificates: Certificates | None = None) -> None:
        """certificates: of the pods' identities. They are in no plan: keys are where they are needed only."""
        self.serving = self.seen = 0
        self._envoy = envoy
        self._shadow = shadow
        self._clock = clock
        self._certificates = certificates
        self._held: object = None  # the certificates that were told
        # Certificates and Secrets of rules, and the table of both.
        self._certified: tuple[object, object, ResourcesByName] = (None, None, {})
        self._plan: Plan | None = None  # the newest that was told
        self._told: Resources = {}
        self._narrow = True  # nothing is told but what the plan wants
        self._silent_since: float | None = None
        self._rejected: Outcomes = ()  # these two as of the last prepare
        self._waiting: frozenset[str] = frozenset()
        self._cookies: dict[str, int] = {}  # listener -> netns cookie of its pod
        self._kept: dict[str, tuple[EnvoyResource, EnvoyResource]] = {}  # listener -> as wanted, with what it keeps

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        if plan is not self._plan or (self._certificates and self._certificates.held.value is not self._held):
            await self._publish(plan)
        self._rejected, self._waiting = tuple(self._envoy.rejected()), self._envoy.waiting()
        return self._outcomes(plan.generation)

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier."""
        if not self._narrow and not await self._needed(plan):
            await self._publish(plan)
        return ()

    def next_due(self) -> float | None:
        """See order.Applier."""
        due = None if self._silent_since is None else self._silent_since + ANSWER_SECONDS
        return due if due is not None and due > self._clock.monotonic() else None

    def listener(self, name: str) -> tuple[State, str]:
        """Whether Envoy serves a pod's listener, and why not."""
        if name not in self._told.get(LISTENERS, {}):
            return State.PENDING, "Envoy has not been told of this pod's listener yet"
        if any(outcome.item == name for outcome in self._rejected):
            return State.FAILED, f"Envoy rejected {name}, see status of envoy"
        if name in self._waiting:
            return State.PENDING, "Envoy has not opened this pod's listener yet"
        return State.APPLIED, ""

    async def _publish(self, plan: Plan) -> None:
        needed = await self._needed(plan)
        wanted = self._with_certificates(self._with_kept(plan.envoy))
        told = _with(self._told, wanted, needed) if needed else wanted
        await self._envoy.publish(plan.generation, told)
        cookies = {pod.listener: pod.netns_cookie for pod in plan.pods if pod.listener}
        self._cookies = {name: self._cookies[name] for name in needed} | cookies
        self._plan, self._told, self._narrow = plan, told, not needed

    def _with_certificates(self, wanted: Resources) -> Resources:
        if self._certificates is None:
            return wanted
        held = self._held = self._certificates.held.value
        if not held:
            return wanted
        if self._certified[0] is not held or self._certified[1] is not wanted.get(SECRETS):
            of_rules = wanted.get(SECRETS, {})
            self._certified = (held, of_rules, {**of_rules, **identity_secrets(held)})
        return {**wanted, SECRETS: self._certified[2]}

    def _with_kept(self, wanted: Resources) -> Resources:
        before, self._kept = self._kept, {}
        told, clusters = self._told.get(LISTENERS, {}), wanted.get(CLUSTERS, {})
        for name, listener in wanted.get(LISTENERS, {}).items():
            known = before.get(name)
            if known is None or known[0] is not listener:
                known = (listener, with_kept(told.get(name), listener, clusters))
            self._kept[name] = known
        if all(listener is kept for listener, kept in self._kept.values()):
            return wanted
        return {**wanted, LISTENERS: {name: kept for name, (_, kept) in self._kept.items()}}

    async def _needed(self, plan: Plan) -> dict[str, EnvoyResource]:
        """Listeners that are told, not wanted, and to which the kernel still sends connections."""
        wanted = plan.envoy.get(LISTENERS, {})
        left = {name: told for name, told in self._told.get(LISTENERS, {}).items() if name not in wanted}
        captured = {name: told for name, told in left.items() if self._cookies.get(name) in self._shadow.pods}
        if not captured:
            return {}
        led_to = await self._shadow.on_thread(self._led_to)
        return captured if led_to else {}

    def _led_to(self) -> bool:
        return any(tier is Tier.ENVOY for tier, _ in self._shadow.destinations.values())

    def _outcomes(self, generation: int) -> Outcomes:
        now = self._clock.monotonic()
        answered = self._envoy.answered()
        if answered >= generation:
            self._silent_since = None
            self.serving = self.seen = generation
            return self._rejected
        if self._silent_since is None:
            self._silent_since = now
        silent = now - self._silent_since >= ANSWER_SECONDS
        state, reason = (State.FAILED, f"no answer within {ANSWER_SECONDS:.0f} s") if silent else (State.PENDING, "")
        return (*self._rejected, Outcome("envoy", state, reason or "has not answered yet"))


def _with(before: Resources, after: Resources, listeners: Mapping[str, EnvoyResource]) -> Resources:
    """after, with some listeners of before and whatever they may lead to."""
    both = {kind: overlaid(before.get(kind, {}), after.get(kind, {})) for kind in {*before, *after}}
    return {**both, LISTENERS: {**listeners, **after.get(LISTENERS, {})}}
