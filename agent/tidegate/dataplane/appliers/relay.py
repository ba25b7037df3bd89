"""Services of the relay, which takes them as one image.

A service that leaves the plan is served until nothing leads to it and a little longer, for connections that are on
their way; unless another service takes over one of its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.dataplane.changes import Changes, delta
from tidegate.dataplane.devices import Relay
from tidegate.dataplane.order import RELAY
from tidegate.dataplane.sandboxes import Sandboxes
from tidegate.dataplane.shadow import Shadow
from tidegate.errors import TidegateError
from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Service
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.model.tier import Tier
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # of the back-off of a refused image
LINGER_SECONDS = 1.0  # from the last row that led to a service until the relay forgets it
ITEM = "services of the relay"


class RelayServices:
    """The applier of the relay: services in prepare and retire, listeners of pods that left in retire."""

    name = RELAY

    def __init__(
        self, relay: Relay, sandboxes: Sandboxes, shadow: Shadow, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        self.serving = self.seen = 0
        self._relay = relay
        self._sandboxes = sandboxes
        self._shadow = shadow
        self._clock = clock
        self._retries: Retries[str] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._process = 0  # which relay process was told
        self._plan: Plan | None = None  # what it was told last
        self._left: tuple[L4Service, ...] = ()  # and which services of earlier plans it serves besides
        self._numbers: frozenset[int] = frozenset()  # of all that it serves
        self._until: dict[int, float] = {}  # number of a service that left -> when it may go
        self._refusal: Outcomes = ()

    def serves(self, number: int) -> bool:
        """Whether the relay knows the service of this number."""
        return number in self._numbers

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        if changed.l4 or self._relay.process.value != self._process:
            self._retries.forget(ITEM)
        await self._publish(plan, self._leaving(plan))
        return self._refusal

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier."""
        now = self._clock.monotonic()
        outcomes = self._sandboxes.close_others(self._shadow.pods)
        if not self._left or plan is not self._plan:
            return outcomes
        led_to = await self._shadow.on_thread(self._led_to)
        # What routes of those lead to has no row of its own.
        routed = (target.number for s in self._left if s.number in led_to for target in s.routed_to)
        led_to |= set(routed)
        again = now + LINGER_SECONDS
        self._until = {s.number: again if s.number in led_to else self._until.get(s.number, again) for s in self._left}
        await self._publish(plan, tuple(s for s in self._left if self._until[s.number] > now))
        return outcomes

    def next_due(self) -> float | None:
        """See order.Applier."""
        times = [*self._until.values(), *([due] if (due := self._retries.next_due()) is not None else [])]
        return min(times, default=None)

    async def _publish(self, plan: Plan, left: tuple[L4Service, ...]) -> None:
        self.seen = plan.generation
        process = self._relay.process.value
        told = self._plan if process == self._process and left == self._left else None
        if told is not None and (told is plan or _same(told.l4, plan.l4)):
            self._plan, self.serving, self._refusal = plan, plan.generation, ()
            return
        if not process:
            self._refusal = (Outcome(ITEM, State.PENDING, "no relay is there"),)
            return
        if self._retries.waits(ITEM, self._clock.monotonic()):
            return
        services = (*plan.l4, *left)
        try:
            await self._relay.publish(plan.generation, services)
        except (OSError, TidegateError) as error:
            self._retries.refused(ITEM, self._clock.monotonic())
            self._refusal = (Outcome(ITEM, State.FAILED, str(error)),)
            return
        self._retries.forget(ITEM)
        self._process, self._plan, self._left = process, plan, left
        self._numbers = frozenset(service.number for service in services)
        self._until = {number: until for number, until in self._until.items() if number in self._numbers}
        self.serving, self._refusal = plan.generation, ()

    def _leaving(self, plan: Plan) -> tuple[L4Service, ...]:
        """Services that are told and not wanted, but for those one of whose addresses another one has now."""
        if self._plan is None or plan is self._plan:
            return self._left
        told = delta((*self._plan.l4, *self._left), plan.l4).gone
        numbers = {service.number for service in plan.l4} if told else set()
        left = [service for service in told if service.number not in numbers]
        # Several services may be found by number only, which is what ANYWHERE means.
        taken = {a for service in plan.l4 for a in service.addresses if a[0] != ANYWHERE} if left else set()
        return tuple(service for service in left if taken.isdisjoint(service.addresses))

    def _led_to(self) -> set[int]:
        return {number for tier, number in self._shadow.destinations.values() if tier is Tier.FASTPATH}


def _same(a: Sequence[L4Service], b: Sequence[L4Service]) -> bool:
    return a is b or (len(a) == len(b) and all(x is y or x == y for x, y in zip(a, b, strict=True)))
