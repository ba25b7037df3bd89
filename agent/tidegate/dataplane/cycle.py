"""The cycle of the agent: newest facts in, one pass over every appliers in their written order, status out.

Only this task changes the data plane, so appliers need no locks and a burst of changes becomes one pass. Order:
stop capturing for pods that left -> fast path -> Envoy (waits for its answers) -> kernel destinations -> enrolment.
A destination therefore never points at a tier that does not know it yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Protocol

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import NOTHING, Facts, join
from tidegate.dataplane import kernel
from tidegate.dataplane.capture import InNetns, Relay, close_capture, open_capture
from tidegate.errors import TidegateError
from tidegate.linux.netns import Netns
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.plan.relay import L4Service
from tidegate.model.status import ApplierStatus, Failure, PodStatus, Status
from tidegate.model.tier import Tier
from tidegate.model.workload import Sandbox
from tidegate.runtime.latest import Latest

log = logging.getLogger(__name__)

ENVOY_ANSWER_SECONDS = 3.0
RETRY_SECONDS = 1.0
NO_DOCUMENT = "a container outside Kubernetes, and no Pod document has this name"


class FastPathApplier(Relay, Protocol):
    def publish(self, generation: int, services: Sequence[L4Service]) -> None: ...


class EnvoyApplier(Protocol):
    async def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None: ...
    async def wait_applied(self, generation: int, timeout: float) -> bool: ...
    def rejected(self) -> Sequence[Failure]: ...


class Cycle:
    """Owns the desired state of one node. Feed it with set_sandboxes and a Latest of configurations."""

    def __init__(
        self,
        *,
        node: str,
        config: Latest[Mesh | None],
        tables: kernel.KernelTables,
        relay: FastPathApplier,
        envoy: EnvoyApplier,
        in_netns: InNetns,
        netns: Callable[[int], Netns],
        captured: Callable[[Sandbox], None],
    ) -> None:
        self._node = node
        self._config = config
        self._tables = tables
        self._relay = relay
        self._envoy = envoy
        self._in_netns = in_netns
        self._netns_of = netns  # of a sandbox, by cookie
        self._netns: dict[int, Netns] = {}  # of those in _open: ours until their capture is undone
        self._captured = captured  # told when a sandbox got its ports, to be remembered over restarts
        self._sandboxes: dict[int, Sandbox] = {}  # by netns cookie, as the runtime told us
        self._open: dict[int, Sandbox] = {}  # by netns cookie, with capture listeners of ours
        self._wake = asyncio.Event()
        self._generation = 0
        self.facts: Latest[Facts] = Latest(NOTHING)
        self.snapshot: Latest[Plan] = Latest(Plan(0))
        self.status: Latest[Status] = Latest(Status())

    def set_sandboxes(self, sandboxes: Sequence[Sandbox]) -> None:
        """The sandboxes of this node, all of them."""
        self._sandboxes = {s.netns_cookie: s for s in sandboxes}
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Never deletes anything before the first configuration arrived."""
        follow = asyncio.create_task(self._follow_config())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                config = self._config.value
                if config is None:
                    continue
                try:
                    status = await self._pass(config)
                except Exception as error:  # whatever it is, what is in force keeps serving and status says so
                    log.exception("generation %d was not applied", self._generation)
                    failure = Failure(f"generation {self._generation}", f"{type(error).__name__}: {error}")
                    appliers = {**self.status.value.appliers, "cycle": ApplierStatus(0, (failure,))}
                    status = replace(self.status.value, appliers=appliers)
                await self.status.set(status)
                if any(a.failures for a in status.appliers.values()) or any(p.state == "failed" for p in status.pods):
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)
        finally:
            follow.cancel()

    async def _follow_config(self) -> None:
        version = 0
        while True:
            version, _ = await self._config.newer(version)
            self._wake.set()

    async def _pass(self, config: Mesh) -> Status:
        self._generation += 1
        generation = self._generation
        sandboxes = dict(self._sandboxes)
        facts = join(config, tuple(sandboxes.values()), self.facts.value)
        wanted = {cookie for cookie, sandbox in sandboxes.items() if facts.enrolment(sandbox.id).enrolled}
        kernel.release_others(self._tables, sorted(wanted))
        failures = self._open_listeners(wanted, sandboxes)
        current = tuple(self._open.get(cookie, s) for cookie, s in sandboxes.items())
        facts = join(config, current, facts)
        await self.facts.set(facts)
        snapshot = await asyncio.to_thread(compile_plan, facts, generation)
        relay_failures: tuple[Failure, ...] = ()
        try:
            leaving = _leaving(self.snapshot.value.l4, snapshot.l4)
            await asyncio.to_thread(self._relay.publish, generation, (*snapshot.l4, *leaving))
        except (OSError, TidegateError) as error:
            relay_failures = (Failure("services of the fast path", str(error)),)
        # Whoever leaves Envoy is led elsewhere before Envoy forgets it, and led to Envoy after Envoy knows it.
        kernel.apply_destinations(self._tables, snapshot, (Tier.DIRECT, Tier.FASTPATH))
        await self._envoy.publish(generation, snapshot.envoy)
        answered = await self._envoy.wait_applied(generation, ENVOY_ANSWER_SECONDS)
        rejected = tuple(self._envoy.rejected())
        kernel_failures = tuple(kernel.apply_destinations(self._tables, snapshot, tuple(Tier)))
        pods = self._enrol(snapshot, current, facts.pods.keys(), failures, answered, {f.item for f in rejected})
        await self.snapshot.set(snapshot)
        silent = () if answered else (Failure("envoy", f"no answer within {ENVOY_ANSWER_SECONDS:.0f} s"),)
        return Status(
            generation=generation,
            revision=config.revision,
            appliers={
                "fastpath": ApplierStatus(0 if relay_failures else generation, relay_failures),
                "envoy": ApplierStatus(generation if answered else self.status.value.generation, rejected + silent),
                "kernel": ApplierStatus(generation, kernel_failures),
            },
            pods=pods,
        )

    def _open_listeners(self, wanted: Set[int], sandboxes: Mapping[int, Sandbox]) -> dict[int, str]:
        failures: dict[int, str] = {}
        for cookie in self._open.keys() - wanted:
            netns = self._netns.pop(cookie)
            close_capture(self._open.pop(cookie), netns.fd, self._relay, self._in_netns)
            netns.close()
        for cookie in wanted:
            sandbox = sandboxes[cookie]
            known = self._open.get(cookie)
            if known is not None:
                self._open[cookie] = replace(known, ips=sandbox.ips, container_id=sandbox.container_id)
                continue
            try:
                netns = self._netns_of(cookie).dup()
                try:
                    self._open[cookie] = open_capture(sandbox, netns.fd, self._relay, self._in_netns)
                except BaseException:
                    netns.close()
                    raise
                self._netns[cookie] = netns
                self._captured(self._open[cookie])
            except (OSError, TidegateError) as error:
                log.warning("pod %s: capture listeners: %s", sandbox.id, error)
                failures[cookie] = f"capture listeners: {error}"
        return failures

    def _enrol(
        self,
        snapshot: Plan,
        sandboxes: Sequence[Sandbox],
        known: Set[WorkloadId],
        failures: Mapping[int, str],
        envoy_answered: bool,
        rejected: set[str],
    ) -> tuple[PodStatus, ...]:
        plans = {plan.id: plan for plan in snapshot.pods}
        rows = self._tables.pods()
        out: list[PodStatus] = []
        for sandbox in sandboxes:
            cookie, plan = sandbox.netns_cookie, plans[sandbox.id]
            state, reason = "enrolled", plan.reason
            if cookie in failures:
                state, reason = "failed", failures[cookie]
            elif sandbox.id not in known:
                state = "pending" if sandbox.kubernetes else "not-enrolled"
                reason = reason if sandbox.kubernetes else NO_DOCUMENT
            elif not plan.enrolled:
                state = "not-enrolled"
            elif plan.listener in rejected:
                state, reason = "failed", f"Envoy rejected {plan.listener}, see status of envoy"
            elif plan.needs_envoy and not envoy_answered and cookie not in rows:
                # A pod that was captured before stays so (fail closed); a new one waits for its listener.
                state, reason = "failed", "Envoy has not opened this pod's listener yet"
            else:
                try:
                    kernel.enrol(self._tables, sandbox, self._netns[cookie].fd)
                except (OSError, TidegateError) as error:
                    state, reason = "failed", f"kernel: {error}"
            out.append(PodStatus(sandbox.id, state, reason, cookie))
        return tuple(out)

    async def settled(self, pod: WorkloadId, cookie: int, timeout: float) -> PodStatus | None:
        """Wait until the sandbox is enrolled or known not to be; the last word (or None) when time is up."""
        last: PodStatus | None = None

        async def watch() -> PodStatus:
            nonlocal last
            version = -1
            while True:
                version, status = await self.status.newer(version)
                last = next((p for p in status.pods if p.id == pod and p.netns_cookie == cookie), None)
                if last is not None and last.state in ("enrolled", "not-enrolled"):
                    return last

        try:
            return await asyncio.wait_for(watch(), timeout)
        except TimeoutError:
            return last


def _leaving(before: Sequence[L4Service], after: Sequence[L4Service]) -> tuple[L4Service, ...]:
    """Services that the fast path serves for one pass longer: until the kernel's rows have changed, and a little after
    for connections that are on their way."""
    numbers = {service.number for service in after}
    taken = {address for service in after for address in service.addresses}
    return tuple(s for s in before if s.number not in numbers and taken.isdisjoint(s.addresses))
