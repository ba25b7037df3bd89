"""Who may connect to the pods of this node: policies, which the relay judges by, and the kernel's rows that lead to it.

Two appliers. The relay gets the policies before a row leads anybody to it. A row does not wait for the relay to have
them: a pod whose policies it does not know is refused, as is all that comes to it while no relay is there, so whatever
fails, nobody is let pass whom a policy would have refused. Rows go when no policy is for the pod any more, after the
relay knows that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Set

from tidegate.dataplane.changes import Changes
from tidegate.dataplane.devices import Relay
from tidegate.dataplane.earlier import EarlierConnections
from tidegate.dataplane.order import GUARDS, POLICIES
from tidegate.dataplane.shadow import Shadow
from tidegate.errors import TidegateError
from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import GuardRow
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # of the back-off of refused policies, or of one refused row
ITEM = "policies of the relay"


class PoliciesApplier:
    """Tells the relay which policies there are."""

    name = POLICIES

    def __init__(self, relay: Relay, clock: Clock, jitter: Callable[[], float]) -> None:
        self.serving = self.seen = 0
        self._relay = relay
        self._clock = clock
        self._retries: Retries[str] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._process = 0  # which relay process was told
        self._told: PolicyTable | None = None
        self._tried: PolicyTable | None = None
        self._outcomes: Outcomes = ()

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        self.seen = plan.generation
        process = self._relay.process.value
        if plan.policies is self._told and process == self._process:
            self.serving, self._outcomes = plan.generation, ()
            return ()
        if not process:
            self._outcomes = (Outcome(ITEM, State.PENDING, "no relay is there; pods that policies are for are closed"),)
            return self._outcomes
        if plan.policies is not self._tried or process != self._process:
            self._retries.forget(ITEM)
        if self._retries.waits(ITEM, self._clock.monotonic()):
            return self._outcomes
        self._tried = plan.policies
        try:
            await self._relay.publish_policies(plan.generation, plan.policies)
        except (OSError, TidegateError) as error:
            self._retries.refused(ITEM, self._clock.monotonic())
            self._outcomes = (Outcome(ITEM, State.FAILED, str(error)),)
            return self._outcomes
        self._retries.forget(ITEM)
        self._process, self._told = process, plan.policies
        self.serving, self._outcomes = plan.generation, ()
        return ()

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier: they are replaced whole."""
        return ()

    def next_due(self) -> float | None:
        """See order.Applier."""
        return self._retries.next_due()


class GuardsApplier:
    """Leads what comes to pods that policies are for to the relay."""

    name = GUARDS

    def __init__(self, shadow: Shadow, earlier: EarlierConnections, clock: Clock, jitter: Callable[[], float]) -> None:
        self.serving = self.seen = 0
        self._shadow = shadow
        self._earlier = earlier
        self._judged: tuple[PolicyTable, frozenset[int]] | None = None  # by what, and whose earlier connections
        self._unjudged: dict[int, str] = {}
        self._clock = clock
        self._retries: Retries[GuardRow] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._plan: Plan | None = None
        self._wanted: frozenset[GuardRow] = frozenset()
        self._refused: dict[GuardRow, str] = {}

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        if plan is not self._plan:
            self._plan = plan
            self._wanted = frozenset().union(*(pod.guards for pod in plan.pods))
            self._retries.keep(())  # what a row was refused for may have changed
        self._refused = await self._change(self._wanted - self._shadow.judged, self._shadow.judge)
        await self._judge_earlier(plan)
        self.seen = plan.generation
        self.serving = self.serving if self._refused else plan.generation
        return (
            *_failed(self._refused),
            *(Outcome(f"netns {cookie}", State.FAILED, why) for cookie, why in self._unjudged.items()),
        )

    async def _judge_earlier(self, plan: Plan) -> None:
        """Once by each table, and of a pod whose rows have just come. New ones go by the relay from now on."""
        led = frozenset(
            row.netns_cookie for row in self._wanted if row in self._shadow.judged and row == GuardRow(row[0])
        )
        table, before = self._judged if self._judged is not None else (None, frozenset[int]())
        due = led if table is not plan.policies else led - before
        self._judged = plan.policies, led
        if due:
            failed = await self._earlier.judge(plan, sorted(due))
            self._unjudged = {c: why for c, why in self._unjudged.items() if c in led - due} | failed
        else:
            self._unjudged = {c: why for c, why in self._unjudged.items() if c in led}

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier."""
        if plan is not self._plan:
            return ()
        return _failed(await self._change(self._shadow.judged - self._wanted, self._shadow.pardon))

    def next_due(self) -> float | None:
        """See order.Applier."""
        return self._retries.next_due()

    async def _change(self, rows: Set[GuardRow], do: _Do) -> dict[GuardRow, str]:
        now = self._clock.monotonic()
        due = {row for row in rows if not self._retries.waits(row, now)}
        refused = await do(due) if due else {}
        for row in due:
            if row in refused:
                self._retries.refused(row, now)
            else:
                self._retries.forget(row)
        return {row: self._refused.get(row, "") for row in rows - due} | refused


_Do = Callable[[Iterable[GuardRow]], Awaitable[dict[GuardRow, str]]]


def _failed(refused: dict[GuardRow, str]) -> Outcomes:
    return tuple(Outcome(str(row), State.FAILED, why) for row, why in refused.items())
