"""The cycle of the agent: newest facts in, compile, all appliers in the order of order.py, status out.

Only this task changes the data plane, so appliers need no locks and a burst of changes becomes one pass. A pass waits
for no other process: what Envoy, the relay or a pod's namespace still owes is PENDING, and whoever has news wakes the
cycle. What was refused is tried again by the back-off of that item, with the plan that there is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tidegate.compile.compiler import Compiler
from tidegate.compile.entries import names_to_resolve
from tidegate.compile.facts import NOTHING, Facts, join
from tidegate.dataplane.appliers.enrolment import EnrolmentApplier
from tidegate.dataplane.changes import Changes, changes
from tidegate.dataplane.order import Applier, in_order
from tidegate.dataplane.resolver import Resolved, Resolver
from tidegate.dataplane.sandboxes import Membership, Sandboxes
from tidegate.dataplane.settling import Settling
from tidegate.dataplane.shadow import Shadow
from tidegate.errors import TidegateError
from tidegate.model.envoy_filter import EnvoyFilter
from tidegate.model.mesh import Mesh
from tidegate.model.plan import Plan
from tidegate.model.status import ApplierStatus, Outcome, Outcomes, State, Status
from tidegate.model.workload import Sandbox
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.retries import Retries

log = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0  # between two looks at the kernel's tables
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0  # of the back-off after an error that nobody thought of
BREATH_SECONDS = 0.05  # at least, between two passes for which there is no news
FACTS, COMPILE = "facts", "compile"
_NOTHING = Plan(0)
Passed = tuple[EnvoyFilter, ...]
_UNCHANGED = Changes()


class Cycle:
    """Owns the desired state of one node. Feed it with set_sandboxes and a Latest of configurations."""

    def __init__(
        self,
        *,
        node: str,
        config: Latest[Mesh | None],
        sandboxes: Sandboxes,
        shadow: Shadow,
        enrolment: EnrolmentApplier,
        appliers: Sequence[Applier],
        clock: Clock,
        jitter: Callable[[], float],
        resolver: Resolver,
        wake: asyncio.Event,
        news: Sequence[Latest[Any]] = (),
    ) -> None:
        """appliers: enrolment and all others. wake, news: set by whoever owes something to a pass and has it now."""
        self._node = node
        self._config = config
        self._sandboxes = sandboxes
        self._shadow = shadow
        self._enrolment = enrolment
        self._appliers = in_order(appliers)
        self._clock = clock
        self._resolver = resolver
        self._wake = wake
        self._news = news
        self._retries: Retries[str] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._resync_at = 0.0
        self._passed_at = 0.0
        self._joined: tuple[Mesh, tuple[Sandbox, ...], Resolved] | None = None  # what the facts were made of
        self._compiler = Compiler()
        self._compiled: tuple[Facts, Passed] | None = None  # what the plan was made of
        self._planned: tuple[Mesh, tuple[Sandbox, ...], Resolved] | None = None  # what those facts were made of
        self._passed: Passed = ()  # EnvoyFilters that this node is through with
        self._prepared: dict[str, Plan] = {}  # by applier: the plan of its last prepare that returned
        self._revisions: dict[int, int] = {}  # generation -> revision of its configuration, of those not yet dealt with
        self._compared: tuple[Plan, Plan, Changes] | None = None
        self._broken: dict[str, tuple[Plan, Outcomes]] = {}  # by applier: the plan at which it raised
        self._errors: dict[str, Outcome] = {}  # of this pass, by step
        self._last_errors: dict[str, Outcome] = {}
        self._resting = False  # between two passes
        self.settling = Settling()
        enrolment.told = self.settling.tell
        self.facts: Latest[Facts] = Latest(NOTHING)
        self.plan: Latest[Plan] = Latest(_NOTHING)
        self.status: Latest[Status] = Latest(Status())

    @property
    def destinations(self) -> int:
        """How many rows tg_dests has."""
        return len(self._shadow.destinations)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and no news has come."""
        return self._resting and not self._sandboxes.busy and not self._wake.is_set()

    @property
    def relay_up(self) -> bool:
        """Whether a relay process can be reached."""
        return self._sandboxes.relay_up

    def set_sandboxes(self, sandboxes: Sequence[Sandbox]) -> None:
        """The sandboxes of this node, all of them."""
        self._sandboxes.tell(sandboxes)
        self.settling.keep(self._sandboxes.known)
        self._wake.set()

    async def release(self, sandboxes: Sequence[Sandbox], gone: int) -> None:
        """As set_sandboxes, and the netns whose cookie is gone is not captured any more when this returns."""
        self.set_sandboxes(sandboxes)
        if gone not in self._sandboxes.known:
            await self._enrolment.release(gone)

    async def run(self) -> None:
        """Until cancelled. Never touches anything before the first configuration arrived."""
        news: tuple[Latest[Any], ...] = (self._config, self._resolver.resolved, *self._news)
        following = [asyncio.create_task(self._follow(latest)) for latest in news]
        following.append(asyncio.create_task(self._resolver.run()))
        try:
            while True:
                self._resting = True
                await self._idle()
                self._resting = False
                config = self._config.value
                if config is not None:
                    await self._pass(config)
        finally:
            for task in following:
                task.cancel()
            await self._sandboxes.stop()

    async def _follow(self, latest: Latest[Any]) -> None:
        version = 0
        while True:
            version, _ = await latest.newer(version)
            if latest is self._config:
                for step in (FACTS, COMPILE):
                    self._retries.forget(step)  # what it could not be made of has changed
            self._wake.set()

    async def _idle(self) -> None:
        """Until there is news, or something is due."""
        due = self._next_due()
        if due is None or self._config.value is None:
            await self._wake.wait()
        elif not self._wake.is_set():
            woken = asyncio.create_task(self._wake.wait())
            time = asyncio.create_task(self._clock.sleep(max(BREATH_SECONDS, due - self._clock.monotonic())))
            try:
                await asyncio.wait((woken, time), return_when=asyncio.FIRST_COMPLETED)
            finally:
                woken.cancel()
                time.cancel()
        self._wake.clear()

    def _next_due(self) -> float | None:
        """When to pass again without news. What was due already at the last pass and is still there waits for news."""
        times = [applier.next_due() for applier in self._appliers]
        times += [self._sandboxes.next_due(), self._retries.next_due(), self._resync_at]
        return min((time for time in times if time is not None and time > self._passed_at), default=None)

    # --- one pass -----------------------------------------------------------------------------------------------
    async def _pass(self, config: Mesh) -> None:
        self._errors, self._passed_at = {}, self._clock.monotonic()
        tables_known = await self._attempt("kernel tables", self._resync)
        if tables_known and await self._attempt(FACTS, lambda: self._join(config)):
            await self._attempt("relay listeners", self._sandboxes.meet_relay)
            self._sandboxes.open_missing()
            await self._attempt(COMPILE, self._compile)
        outcomes = await self._apply(self.plan.value) if self.plan.value.generation else {}
        await self._report(outcomes)
        self._look_back()

    def _look_back(self) -> None:
        """Whoever was dialled before an EnvoyFilter came has to be dialled anew, and not before it is in force."""
        if self._compiled is None or min(applier.seen for applier in self._appliers) < self.plan.value.generation:
            return
        filters = self._compiled[0].mesh.envoy_filters
        if filters != self._passed:
            self._passed = filters
            self._wake.set()

    async def _resync(self) -> None:
        if self._shadow.doubtful or self._clock.monotonic() >= self._resync_at:
            await self._shadow.resync()
            self._resync_at = self._clock.monotonic() + RESYNC_SECONDS

    async def _join(self, config: Mesh) -> None:
        """The facts, and by them who is to be in the mesh. Who is not, and never was, need not wait for the rest."""
        sandboxes, resolved, before = self._sandboxes.current(), self._resolver.resolved.value, self.facts.value
        joined = self._joined
        if joined is None or config is not joined[0] or sandboxes != joined[1] or resolved is not joined[2]:
            facts, decisions = await asyncio.to_thread(_decided, config, sandboxes, before, self._node, resolved)
            self._sandboxes.decisions = decisions
            await self.facts.set(facts)
            self._joined = (config, sandboxes, resolved)
            tables = ("services", "workloads_by_service", "virtual_services", "mesh_config")
            if any(getattr(facts, table) is not getattr(before, table) for table in tables):
                self._resolver.want(frozenset(_names(facts)), facts.mesh.config.dns_refresh_ms)
        self._enrolment.tell_others()

    async def _compile(self) -> None:
        facts = self.facts.value
        if self._compiled is None:
            self._passed = facts.mesh.envoy_filters  # nobody dialled anything before them
        passed = self._passed
        facts_before, passed_before = self._compiled or (None, None)
        if passed is passed_before and (facts is facts_before or self._awaits_listeners()):
            return
        generation = self.plan.value.generation + 1
        plan = await asyncio.to_thread(self._compiler.compile, facts, generation, passed)
        self._compiled, self._planned = (facts, passed), self._joined
        self._revisions[generation] = facts.mesh.revision
        await self.plan.set(plan)

    def _awaits_listeners(self) -> bool:
        """Whether all that is new since the plan are pods that are being opened. There is nothing to plan for them yet,
        and when they are open there will be: until then others need not wait for a plan."""
        before, now = self._planned, self._joined
        if before is None or now is None or before[0] is not now[0] or before[2] is not now[2]:
            return False
        new = set(now[1]).difference(before[1])
        return len(before[1]) + len(new) == len(now[1]) and all(self._sandboxes.is_opening(s) for s in new)

    async def _apply(self, plan: Plan) -> dict[str, Outcomes]:
        outcomes: dict[str, Outcomes] = {}
        for applier in self._appliers:
            outcomes[applier.name] = await self._prepare(applier, plan)
        for applier in reversed(self._appliers):
            try:
                outcomes[applier.name] += await applier.retire(plan)
            except Exception as error:
                outcomes[applier.name] += (self._unexpected(applier.name, error),)
        return outcomes

    async def _prepare(self, applier: Applier, plan: Plan) -> Outcomes:
        name = applier.name
        failed = self._broken.get(name)
        if failed is not None and failed[0] is plan and self._retries.waits(name, self._clock.monotonic()):
            return failed[1]
        try:
            outcomes = await applier.prepare(plan, await self._changes(self._prepared.get(name, _NOTHING), plan))
        except Exception as error:
            outcomes = (self._unexpected(name, error),)
            self._broken[name] = (plan, outcomes)
        else:
            self._prepared[name] = plan
            if self._broken.pop(name, None):
                self._retries.forget(name)
        return outcomes

    async def _changes(self, before: Plan, after: Plan) -> Changes:
        """Appliers that went through the same plan share the comparison, which walks both and so is for a thread."""
        if before is after:
            return _UNCHANGED
        if self._compared is None or self._compared[0] is not before or self._compared[1] is not after:
            self._compared = (before, after, await asyncio.to_thread(changes, before, after))
        return self._compared[2]

    async def _attempt(self, what: str, step: Callable[[], Awaitable[None]]) -> bool:
        """One step before the appliers; False if it cannot be done now. What is in force keeps serving."""
        last = self._last_errors.get(what)
        if last is not None and self._retries.waits(what, self._clock.monotonic()):
            self._errors[what] = last
            return False
        try:
            await step()
        except Exception as error:
            self._errors[what] = self._unexpected(what, error)
            return False
        self._retries.forget(what)
        return True

    def _unexpected(self, what: str, error: Exception) -> Outcome:
        """Whatever it is, what is in force keeps serving, the others go on and status says so."""
        if not isinstance(error, (OSError, TidegateError)):
            log.exception("%s", what, exc_info=error)
        self._retries.refused(what, self._clock.monotonic())
        return Outcome(what, State.FAILED, f"{type(error).__name__}: {error}")

    async def _report(self, outcomes: Mapping[str, Outcomes]) -> None:
        self._last_errors = self._errors
        before = self.status.value
        appliers = {
            applier.name: ApplierStatus(applier.serving, outcomes[applier.name])
            for applier in self._appliers
            if applier.name in outcomes
        }
        appliers |= {what: ApplierStatus(self.plan.value.generation, (error,)) for what, error in self._errors.items()}
        generation = max(before.generation, min(applier.seen for applier in self._appliers))
        revision = self._revisions.get(generation, before.revision)
        self._revisions = {g: r for g, r in self._revisions.items() if g >= generation}
        status = Status(generation, revision, appliers or before.appliers, self.settling.all())
        if status != before:
            await self.status.set(status)


def _names(facts: Facts) -> set[str]:
    """What has to be resolved. Costs what entries there are; without any, nothing."""
    of_entries = {host: facts.services[host] for host in facts.entries.by_host if host in facts.services}
    rules = facts.mesh.virtual_services if of_entries else ()
    led_to = {t.target.host for vs in rules for route in (*vs.tcp, *vs.tls) for t in route.targets}
    return names_to_resolve(of_entries, facts.workloads_by_service, led_to)


def _decided(
    config: Mesh, sandboxes: Sequence[Sandbox], before: Facts, node: str, resolved: Resolved
) -> tuple[Facts, dict[int, Membership]]:
    """The facts, and who is to be in the mesh by them. For a thread: it walks all pods of the node."""
    facts = join(config, sandboxes, before, node, resolved)
    return facts, {sandbox.netns_cookie: _decision(facts, sandbox) for sandbox in facts.sandboxes}


def _decision(facts: Facts, sandbox: Sandbox) -> Membership:
    pod = facts.pods.get(sandbox.id)
    ports = frozenset(p.port for p in pod.ports) if pod else frozenset[int]()
    return Membership(*facts.enrolment(sandbox.id), known=pod is not None, ports=ports)
