"""Rows of tg_inbound: ports of pods at which Envoy stands in front of the application. Two appliers, as for tg_dests: a
row that goes does so before Envoy is told, and one that comes waits until Envoy serves the listener that it leads to.

Connections that are there when a row comes or goes stay where they are; those that Envoy has it ends as it ends a
listener's (docs/decisions/0027-what-comes-to-a-pod-passes-envoy-where-a-patch-is.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegate.dataplane.changes import Changes
from tidegate.dataplane.order import FROM_ELSEWHERE
from tidegate.dataplane.shadow import Shadow
from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import InboundPort
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0  # of the back-off of one refused row


class InboundApplier:
    """One of the two appliers of tg_inbound."""

    def __init__(
        self,
        shadow: Shadow,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        name: str,
        listener: Callable[[str], tuple[State, str]],
    ) -> None:
        """name: PAST_INBOUND takes rows away, FROM_ELSEWHERE adds them. listener: whether Envoy serves the listener of
        this name, and why not."""
        self.name = name
        self.serving = self.seen = 0
        self._adds = name == FROM_ELSEWHERE
        self._shadow = shadow
        self._clock = clock
        self._listener = listener
        self._plan: Plan | None = None
        self._wanted: Mapping[InboundPort, str] = {}  # with the listener's name
        self._retries: Retries[InboundPort] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._refused: dict[InboundPort, str] = {}

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        if plan is not self._plan:
            self._plan = plan
            self._wanted = {port: pod.inbound for pod in plan.pods for port in pod.inbound_ports}
            self._retries.keep(())  # what a row was refused for may have changed
        held: dict[str, str] = {}  # listener -> why its rows have to wait
        if self._adds:
            todo = self._wanted.keys() - self._shadow.inbound
            ready = {name: self._listener(name) for name in {self._wanted[port] for port in todo}}
            held = {name: why for name, (state, why) in ready.items() if state is State.PENDING}
            # One that Envoy refuses is not in force, which its own status says: the application is reached without.
            todo = {port for port in todo if ready[self._wanted[port]][0] is State.APPLIED}
        else:
            todo = self._shadow.inbound - self._wanted.keys()
        now = self._clock.monotonic()
        due = {port for port in todo if not self._retries.waits(port, now)}
        change = self._shadow.lead_in if self._adds else self._shadow.leave_alone
        refused = await change(sorted(due)) if due else {}
        for port in due:
            if port in refused:
                self._retries.refused(port, now)
            else:
                self._retries.forget(port)
        self._refused = {port: why for port, why in self._refused.items() if port in todo - due} | refused
        self.seen = self.seen if held else plan.generation
        self.serving = self.serving if held or self._refused else plan.generation
        return (
            *(Outcome(f"inbound {port}", State.FAILED, why) for port, why in self._refused.items()),
            *(Outcome(f"inbound {name}", State.PENDING, why) for name, why in held.items()),
        )

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier: rows go in prepare, before what they led to does."""
        return ()

    def next_due(self) -> float | None:
        """See order.Applier."""
        return self._retries.next_due()
