"""Services of the relay, which takes them as one image.

A service that leaves the plan is served until nothing leads to it and a little longer, for connections that are on
their way; unless another service takes over one of its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.dataplane.changes import Changes
from tidegate.dataplane.devices import Relay
from tidegate.dataplane.order import RELAY
from tidegate.dataplane.sandboxes import Sandboxes
from tidegate.dataplane.shadow import Shadow
from tidegate.errors import TidegateError
from tidegate.model.plan import Plan
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
        self._told: tuple[L4Service, ...] | None = None  # what it serves, those that leave included
        self._leaving: dict[int, float] = {}  # number of a service that left the plan -> when it may go
        self._refusal: Outcomes = ()

    def serves(self, number: int) -> bool:
        """Whether the relay knows the service of this number."""
        return number in self._numbers

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        if changed.l4 or self._relay.process.value != self._process:
            self._retries.forget(ITEM)
        leaving = _leaving(self._told or (), plan.l4)
        await self._publish(plan, leaving)
        return self._refusal

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier."""
        now = self._clock.monotonic()
        outcomes = await self._sandboxes.close_others(self._shadow.pods)
        leaving = _leaving(self._told or (), plan.l4)
        if not leaving:
            self._leaving = {}
            return outcomes
        led_to = await self._shadow.on_thread(self._led_to)
        self._leaving = {
            service.number: now + LINGER_SECONDS
            if service.number in led_to
            else self._leaving.get(service.number, now + LINGER_SECONDS)
            for service in leaving
        }
        stay = tuple(service for service in leaving if self._leaving[service.number] > now)
        if len(stay) < len(leaving):
            await self._publish(plan, stay)
        return outcomes

    def next_due(self) -> float | None:
        """See order.Applier."""
        times = [*self._leaving.values(), *([due] if (due := self._retries.next_due()) is not None else [])]
        return min(times, default=None)

    @property
    def _numbers(self) -> set[int]:
        return {service.number for service in self._told or ()}

    async def _publish(self, plan: Plan, leaving: Sequence[L4Service]) -> None:
        services = (*plan.l4, *leaving)
        self.seen = plan.generation
        process = self._relay.process.value
        if process == self._process and self._told is not None and _same(services, self._told):
            self.serving, self._refusal = plan.generation, ()
            return
        if self._retries.waits(ITEM, self._clock.monotonic()):
            return
        try:
            await self._relay.publish(plan.generation, services)
        except (OSError, TidegateError) as error:
            self._retries.refused(ITEM, self._clock.monotonic())
            self._refusal = (Outcome(ITEM, State.FAILED, str(error)),)
        else:
            self._retries.forget(ITEM)
            self._process, self._told = process, services
            self.serving, self._refusal = plan.generation, ()

    def _led_to(self) -> set[int]:
        return {number for tier, number in self._shadow.destinations.values() if tier is Tier.FASTPATH}


def _leaving(told: Sequence[L4Service], wanted: Sequence[L4Service]) -> tuple[L4Service, ...]:
    """Services that are told and not wanted, but for those one of whose addresses another one has now."""
    if told is wanted:
        return ()
    numbers = {service.number for service in wanted}
    left = [service for service in told if service.number not in numbers]
    if not left:
        return ()
    taken = {address for service in wanted for address in service.addresses}
    return tuple(service for service in left if taken.isdisjoint(service.addresses))


def _same(a: Sequence[L4Service], b: Sequence[L4Service]) -> bool:
    return len(a) == len(b) and all(x is y or x == y for x, y in zip(a, b, strict=True))
