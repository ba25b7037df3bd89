"""Names and pods of the node's DNS. It may be away at any time: then the kernel leaves questions to the pods' own
resolvers, so nobody waits for it, and no pod's capture depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tidegate.dataplane.changes import Changes, delta
from tidegate.dataplane.devices import Dns
from tidegate.dataplane.order import DNS
from tidegate.dataplane.sandboxes import Sandboxes
from tidegate.errors import TidegateError
from tidegate.model.plan import Plan
from tidegate.model.plan.names import HostNames
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.model.workload import Sandbox
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # of the back-off of the names, and of one pod
ITEM = "names of the registry"
AWAY = Outcome(ITEM, State.PENDING, "the node's DNS is not there: pods ask their own resolvers")

TELLING = Outcome(ITEM, State.PENDING, "the node's DNS is being told")
# What a pass gives it for names, which are in force with the rest, and an enrolment for its own pod, whose first
# question may come at once. Nobody waits for one that hangs, and no pass for a pod.
PATIENCE_SECONDS = 0.25

_Told = tuple[str, bool, int]  # what a pod was added with: its namespace, whether with IPv6, which port in it is ours


class NodeDns:
    """The applier of the node's DNS. Names are told by a task of its own, and each pod by one."""

    name = DNS

    def __init__(
        self,
        dns: Dns,
        sandboxes: Sandboxes,
        clock: Clock,
        jitter: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """changed is called when something was told that a pass did not wait for."""
        self.serving = self.seen = 0
        self._dns = dns
        self._sandboxes = sandboxes
        self._clock = clock
        self._changed = changed
        self._retries: Retries[str | int] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._refused: dict[str | int, Outcome] = {}
        self._process = 0  # which one was told what follows
        self._names: tuple[HostNames, ...] | None = None  # None: it may have any
        self._pods: dict[int, _Told] = {}
        self._telling: asyncio.Task[None] | None = None
        self._about: dict[int, asyncio.Task[None]] = {}  # by netns cookie: what is being told of a pod
        self._until: dict[int, float] = {}  # of pods that are being added: how long their enrolment waits

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        process = self._dns.process.value
        if process != self._process and self._telling is None and not self._about:
            self._process, self._names, self._pods = process, None, {}
            self._retries.keep(())
            self._refused.clear()
        if not process:
            self.seen = plan.generation
            return (AWAY,)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(plan), name="telling the node's DNS")
            await asyncio.wait({self._telling}, timeout=PATIENCE_SECONDS)
            if self._telling.done():
                self._telling = None
            else:
                self._telling.add_done_callback(self._told_late)
        if self._telling is None and self._process == process and self._names is plan.names:
            self._tell_of_pods(plan)
        return (*self._refused.values(), *((TELLING,) if self._telling else ()))

    async def retire(self, plan: Plan) -> Outcomes:
        """See order.Applier. A pod that is to be captured no more asks its resolver from prepare on."""
        return ()

    def next_due(self) -> float | None:
        """See order.Applier."""
        return min((t for t in (self._retries.next_due(), *self._until.values()) if t is not None), default=None)

    def is_telling(self, cookie: int) -> bool:
        """Whether a pod is being added, and not for so long that its enrolment should not wait for that."""
        return self._clock.monotonic() < self._until.get(cookie, 0.0)

    # ------------------------------------------------------------------------------------------------------------
    def _told_late(self, _: asyncio.Task[None]) -> None:
        self._telling = None
        self._changed()

    async def _tell(self, plan: Plan) -> None:
        """All that differs from what it was told. Never raises."""
        if self._names is None:
            await self._attempt(ITEM, ITEM, partial(self._begin, plan.names))
        elif self._names is not plan.names:
            await self._attempt(ITEM, ITEM, partial(self._name, plan.names))
        self.seen = plan.generation
        if self._names is not plan.names:
            return
        self.serving = plan.generation

    def _tell_of_pods(self, plan: Plan) -> None:
        """Begin to tell what differs from what it was told of each pod."""
        wanted = self._sandboxes.wanted
        for cookie in [c for c in self._pods if not wanted(c)]:
            self._begin_about(cookie, f"netns {cookie}", partial(self._drop, cookie))
        for cookie in [c for c in self._refused if isinstance(c, int) and not wanted(c)]:
            if cookie not in self._pods:
                self._refused.pop(cookie)
                self._retries.forget(cookie)
        for cookie, sandbox in self._sandboxes.open.items():
            told = (plan.views.get(cookie, sandbox.id.namespace), bool(sandbox.capture.fastpath6), sandbox.capture.port)
            if wanted(cookie) and self._pods.get(cookie) != told:
                self._begin_about(cookie, f"pod {sandbox.id}", partial(self._add, sandbox, told))
                if cookie in self._about:
                    self._until.setdefault(cookie, self._clock.monotonic() + PATIENCE_SECONDS)

    def _begin_about(self, cookie: int, item: str, step: Callable[[], Awaitable[None]]) -> None:
        if cookie in self._about or self._retries.waits(cookie, self._clock.monotonic()):
            return  # one after the other; what differs then is told then
        telling = self._about[cookie] = asyncio.create_task(self._attempt(cookie, item, step))
        telling.add_done_callback(lambda _: self._told_about(cookie))

    def _told_about(self, cookie: int) -> None:
        del self._about[cookie]
        self._until.pop(cookie, None)
        if self._sandboxes.wanted(cookie) or cookie in self._pods or cookie in self._refused:
            self._changed()

    async def _attempt(self, key: str | int, item: str, step: Callable[[], Awaitable[None]]) -> None:
        """One step, unless it is too early for it; what is refused is tried again by its own back-off."""
        now = self._clock.monotonic()
        if self._retries.waits(key, now):
            return
        try:
            await step()
        except (OSError, KeyError, TidegateError) as error:
            self._retries.refused(key, now)
            if key == ITEM:
                self._names = None
            why = str(error) if key == ITEM else f"its questions go to its own resolver: {error}"
            self._refused[key] = Outcome(item, State.FAILED, why)
        else:
            self._retries.forget(key)
            self._refused.pop(key, None)

    async def _begin(self, names: tuple[HostNames, ...]) -> None:
        """Slots of pods that went while no agent ran are free; those of the others stand for the same resolvers."""
        await self._dns.keep_pods(self._sandboxes.known)
        await self._dns.put_names(names, (), whole=True)
        self._names = names

    async def _name(self, names: tuple[HostNames, ...]) -> None:
        change = delta(self._names or (), names)
        put = {host.host for host in change.put}
        await self._dns.put_names(change.put, [h.host for h in change.gone if h.host not in put], whole=False)
        self._names = names

    async def _add(self, sandbox: Sandbox, told: _Told) -> None:
        cookie = sandbox.netns_cookie
        namespace, v6, port = told
        await self._dns.add_pod(cookie, namespace, self._sandboxes.netns_fd(cookie), v6, port)
        self._pods[cookie] = told

    async def _drop(self, cookie: int) -> None:
        await self._dns.drop_pod(cookie)
        self._pods.pop(cookie, None)
