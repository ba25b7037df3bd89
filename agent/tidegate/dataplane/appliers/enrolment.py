"""Rows of tg_pods and the guards: which pods are captured. Last to come and first to go.

Each pod is judged by itself: one that waits for its listener, or that cannot be captured, keeps nobody else waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegate.bpf.records import PodRow
from tidegate.dataplane.changes import Changes
from tidegate.dataplane.order import ENROLMENT
from tidegate.dataplane.sandboxes import Membership, Sandboxes
from tidegate.dataplane.shadow import Shadow
from tidegate.errors import TidegateError
from tidegate.model.plan import Plan
from tidegate.model.plan.pods import PodPlan
from tidegate.model.status import Outcome, Outcomes, PodState, PodStatus, State
from tidegate.model.workload import Sandbox
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # of the back-off of one pod
NO_DOCUMENT = "a container outside Kubernetes, and no Pod document has this name"

PodVerdict = tuple[PodState, str]  # and why


class EnrolmentApplier:
    """The applier of tg_pods and the guards."""

    name = ENROLMENT

    def __init__(
        self,
        sandboxes: Sandboxes,
        shadow: Shadow,
        listener: Callable[[str], tuple[State, str]],
        clock: Clock,
        jitter: Callable[[], float],
        naming: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """listener: whether Envoy serves the listener of this name, and why not. naming: whether the node's DNS is
        about to answer the questions of this netns cookie."""
        self.serving = self.seen = 0
        self._sandboxes = sandboxes
        self._shadow = shadow
        self._listener = listener
        self._naming = naming
        self._clock = clock
        self._retries: Retries[int] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._refused: dict[int, str] = {}
        self._settled: dict[int, tuple[object, ...]] = {}  # what the verdict on a captured pod was made of
        self._stuck: dict[int, str] = {}  # pods that could not be released
        self._plan: Plan | None = None
        self._plans: Mapping[int, PodPlan] = {}  # of this plan
        self.told: Callable[[PodStatus], None] = lambda _: None  # called as soon as there is a verdict on a pod

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        self._refused = {cookie: why for cookie, why in self._refused.items() if cookie in self._sandboxes.known}
        if plan is not self._plan:
            self._plan, self._plans = plan, {pod.netns_cookie: pod for pod in plan.pods}
            self._settled = {cookie: made for cookie, made in self._settled.items() if cookie in self._sandboxes.known}
        plans = self._plans
        outcomes: list[Outcome] = []
        for cookie, sandbox in tuple(self._sandboxes.known.items()):
            if cookie not in self._sandboxes.known:  # it went while others were enrolled
                continue
            made_of = self._made_of(cookie)
            if self._settled.get(cookie) == made_of:
                continue
            state, reason = await self._judge(cookie, sandbox, plans.get(cookie))
            if state is PodState.ENROLLED:
                self._settled[cookie] = self._made_of(cookie)
            else:
                self._settled.pop(cookie, None)
            if self._sandboxes.wanted(cookie):
                self.told(PodStatus(sandbox.id, state, reason, cookie))
            if state is PodState.FAILED:
                origins = () if plans.get(cookie) is None else (f"Pod {sandbox.id}",)
                outcomes.append(Outcome(f"pod {sandbox.id}", State.FAILED, reason, origins))
        self.serving = self.seen = plan.generation
        return tuple(outcomes)

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier: release the pods that are not wanted any more."""
        now = self._clock.monotonic()
        captured = {*tuple(self._shadow.pods), *tuple(self._shadow.guards)}
        for cookie in captured:
            if not self._sandboxes.wanted(cookie) and not self._retries.waits(cookie, now):
                await self.release(cookie)
        self._stuck = {cookie: why for cookie, why in self._stuck.items() if cookie in captured}
        return tuple(Outcome(f"netns {cookie}", State.FAILED, f"release: {why}") for cookie, why in self._stuck.items())

    def tell_others(self) -> None:
        """The verdict on sandboxes that are not to be in the mesh and are not captured: it needs no plan."""
        for cookie, sandbox in self._sandboxes.known.items():
            decision = self._sandboxes.decisions.get(cookie)
            if decision is not None and not decision.enrolled and cookie not in self._shadow.pods:
                self.told(PodStatus(sandbox.id, *_not_enrolled(sandbox, decision), cookie))

    async def release(self, cookie: int) -> None:
        """Stop capturing in one netns, now. What the kernel refuses is tried again by retire."""
        self._settled.pop(cookie, None)
        try:
            await self._shadow.release(cookie)
        except (OSError, TidegateError) as error:
            self._retries.refused(cookie, self._clock.monotonic())
            self._stuck[cookie] = str(error)
            return
        self._retries.forget(cookie)
        self._stuck.pop(cookie, None)
        sandbox, decision = self._sandboxes.known.get(cookie), self._sandboxes.decisions.get(cookie)
        if sandbox is not None and decision is not None and not decision.enrolled:
            self.told(PodStatus(sandbox.id, *_not_enrolled(sandbox, decision), cookie))

    def next_due(self) -> float | None:
        """See order.Applier."""
        return self._retries.next_due()

    def _made_of(self, cookie: int) -> tuple[object, ...]:
        """All that the verdict on a captured pod depends on. The same objects: nothing has to be looked at again, so a
        pass costs what changed and little for each pod that did not."""
        sandboxes = self._sandboxes
        return (
            sandboxes.open.get(cookie),
            sandboxes.decisions.get(cookie),
            sandboxes.remarks.get(cookie),
            self._plans.get(cookie),
            self._shadow.pods.get(cookie),
            cookie in self._shadow.guards,
        )

    async def _judge(self, cookie: int, sandbox: Sandbox, plan: PodPlan | None) -> PodVerdict:
        decision = self._sandboxes.decisions.get(cookie)
        if decision is None:
            return PodState.PENDING, "nothing is decided about it yet"
        if not decision.enrolled:
            return _not_enrolled(sandbox, decision)
        opened = self._sandboxes.open.get(cookie)
        if opened is None or plan is None:
            failed = self._sandboxes.failed.get(cookie)
            if failed:
                return PodState.FAILED, failed
            away = "" if self._sandboxes.relay_up else ", once a relay is there"
            return PodState.PENDING, f"its capture listeners are being opened{away}"
        # A pod that was captured before stays so (fail closed); a new one waits for its listener.
        if plan.needs_envoy and cookie not in self._shadow.pods:
            state, reason = self._listener(plan.listener)
            if state is not State.APPLIED:
                return (PodState.FAILED if state is State.FAILED else PodState.PENDING), reason
        if cookie not in self._shadow.pods and self._naming(cookie):
            return PodState.PENDING, "the node's DNS is being told of it"
        if (waits := self._waits_inbound(cookie, plan)) is not None:
            return waits
        if cookie not in self._shadow.pods and not plan.guards <= self._shadow.judged:
            return PodState.FAILED, "kernel: a row of its policies was refused, see status"
        reason = "; ".join((decision.reason, *self._sandboxes.remarks.get(cookie, ())))
        return await self._enrol(cookie, pod_row(opened, plan), reason)

    def _waits_inbound(self, cookie: int, plan: PodPlan) -> PodVerdict | None:
        """Why a pod that is not captured yet may not be: what is to meet Envoy on its way in would pass it by. What
        Envoy refuses is not in force, for nobody."""
        if not plan.inbound or cookie in self._shadow.pods:
            return None
        state, reason = self._listener(plan.inbound)
        if state is State.PENDING:
            return PodState.PENDING, reason
        if state is State.APPLIED and not plan.inbound_ports <= self._shadow.inbound:
            return PodState.FAILED, "kernel: a row of its inbound ports was refused, see status"
        return None

    async def _enrol(self, cookie: int, row: PodRow, reason: str) -> PodVerdict:
        now = self._clock.monotonic()
        if self._shadow.pods.get(cookie) == row and cookie in self._shadow.guards:
            return PodState.ENROLLED, reason
        if self._retries.waits(cookie, now):
            return PodState.FAILED, self._refused.get(cookie, "")
        try:
            await self._shadow.enrol(cookie, row, self._sandboxes.netns_fd(cookie))
        except (OSError, TidegateError) as error:
            self._retries.refused(cookie, now)
            self._refused[cookie] = f"kernel: {error}"
            return PodState.FAILED, self._refused[cookie]
        self._retries.forget(cookie)
        self._refused.pop(cookie, None)
        return PodState.ENROLLED, reason


def _not_enrolled(sandbox: Sandbox, decision: Membership) -> PodVerdict:
    if decision.known:
        return PodState.NOT_ENROLLED, decision.reason
    return (PodState.PENDING, decision.reason) if sandbox.kubernetes else (PodState.NOT_ENROLLED, NO_DOCUMENT)


def pod_row(sandbox: Sandbox, plan: PodPlan) -> PodRow:
    """The row of tg_pods that says where this pod's connections go, which addresses are its own and what it sees."""
    return PodRow(
        ip4=next((ip for ip in sandbox.ips if ip.version == 4), None),
        ip6=next((ip for ip in sandbox.ips if ip.version == 6), None),
        fastpath4=sandbox.capture.fastpath4,
        fastpath6=sandbox.capture.fastpath6,
        envoy4=sandbox.capture.envoy4,
        envoy6=sandbox.capture.envoy6,
        v6_capture=sandbox.v6_capture,
        registry_only=plan.registry_only,
        scope=plan.scope,
    )
