"""Pods of this node that run in the mesh's namespaces and that no CNI call told us of: looked for, and named until they
are captured.

Whenever the facts change, who has an address here, is to be in the mesh and has no sandbox is missed. Whoever is missed
is looked for at once, and again by a back-off of its own: a namespace may be made, or a name of it appear, after the
cluster has said the address.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass

from tidegate.compile.facts import Facts
from tidegate.enroll.running import RunningNetns
from tidegate.enroll.wire import CniRequest
from tidegate.errors import TidegateError
from tidegate.model.kube import Pod
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.retries import Retries
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # between two looks for the same pod
_LOOKS = 2  # in vain before a pod without a namespace is called uncaptured: one that is made anew has none for a while


@dataclass(frozen=True, slots=True)
class Uncaptured:
    """A pod that is to be in the mesh and runs beside it. reason: a phrase that says why, and what to do."""

    pod: WorkloadId
    reason: str


def missed(facts: Facts, node: str) -> Iterator[Pod]:
    """Pods that have an address on this node by what the cluster says, are to be in the mesh, and have no sandbox."""
    known = {sandbox.id for sandbox in facts.sandboxes}
    for pod in facts.pods.values():
        if pod.node != node or pod.id in known or pod.ending or pod.host_network or not (pod.has_status and pod.ips):
            continue
        if facts.enrolment(pod.id).enrolled:
            yield pod


class RunningPods:
    """For one event loop."""

    def __init__(
        self,
        node: str,
        facts: Latest[Facts],
        having: Callable[[Collection[IPAddress]], list[RunningNetns]],
        take_up: Callable[[CniRequest], Awaitable[None]],
        sweep: Callable[[], Awaitable[None]],
        threads: Worker,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """having: namespaces of the node with one of these addresses that are no sandbox's yet, to be closed; blocks,
        and is called on threads. take_up: makes a sandbox of one. sweep: forgets those whose namespace is gone."""
        self._node = node
        self._facts = facts
        self._having = having
        self._take_up = take_up
        self._sweep = sweep
        self._threads = threads
        self._clock = clock
        self._retries: Retries[WorkloadId] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._looks: Counter[WorkloadId] = Counter()  # in vain
        self._reasons: dict[WorkloadId, str] = {}

    def uncaptured(self) -> tuple[Uncaptured, ...]:
        """By name."""
        return tuple(Uncaptured(pod, reason) for pod, reason in sorted(self._reasons.items()))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            version, facts = self._facts.version, self._facts.value
            await self._look(facts)
            if any(sandbox.found and sandbox.id not in facts.pods for sandbox in facts.sandboxes):
                await self._sweep()  # a runtime that goes by the configuration of ADD says no DEL for it
            await self._news(version)

    async def _news(self, version: int) -> None:
        """Until the facts are others, or somebody is to be looked for again."""
        waiting: list[asyncio.Future[object]] = [asyncio.ensure_future(self._facts.newer(version))]
        due = self._retries.next_due()
        if due is not None:
            waiting.append(asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._clock.monotonic()))))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _look(self, facts: Facts) -> None:
        pods = {pod.id: pod for pod in missed(facts, self._node)}
        self._retries.keep(pods)
        self._looks = Counter({pod: count for pod, count in self._looks.items() if pod in pods})
        self._reasons = {pod: reason for pod, reason in self._reasons.items() if pod in pods}
        now = self._clock.monotonic()
        due = [pod for pod in pods.values() if not self._retries.waits(pod.id, now)]
        if not due:
            return
        found: list[RunningNetns] = []
        why = ""
        try:
            found = await self._threads.do(self._having, frozenset(ip for pod in due for ip in pod.ips))
        except OSError as error:
            why = f"its network namespace cannot be looked for: {error}"
        try:
            for pod in due:
                await self._judge(pod, [one for one in found if not one.addresses.isdisjoint(pod.ips)], why)
        finally:
            for one in found:
                one.close()

    async def _judge(self, pod: Pod, fitting: list[RunningNetns], why: str) -> None:
        reason = why or await self._reason(pod, fitting)
        if not reason:
            log.info("pod %s runs already: found at %s", pod.id, fitting[0].path)
            self._retries.forget(pod.id)
            self._reasons.pop(pod.id, None)
            return
        self._retries.refused(pod.id, self._clock.monotonic())
        self._looks[pod.id] += 1
        if fitting or why or self._looks[pod.id] >= _LOOKS:
            if pod.id not in self._reasons:
                log.warning("pod %s runs uncaptured: %s", pod.id, reason)
            self._reasons[pod.id] = reason

    async def _reason(self, pod: Pod, fitting: list[RunningNetns]) -> str:
        """Why the pod could not be taken up; empty if it was."""
        addresses = ", ".join(map(str, pod.ips))
        if not fitting:
            return f"no CNI call told of it, and no network namespace of this node has {addresses}; delete the pod"
        if len(fitting) > 1:
            paths = ", ".join(str(one.path) for one in fitting)
            return f"no CNI call told of it, and several network namespaces have {addresses}: {paths}; delete the pod"
        try:
            await self._take_up(fitting[0].as_added(pod.id, pod.ips))
        except TidegateError as error:
            return str(error)
        return ""
