"""A running lab: keeps the pods that exist equal to the pods that the objects ask for.

One task, the controller, reconciles after every change: compare (lab.workloads), write the cluster directory, start and
end pods. Commands change the objects and then wait until what they asked for is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
from collections.abc import Iterable, Sequence

from tidegate.errors import Rejected, Transient
from tidegate.model.names import ObjectKey, ServiceName, WorkloadId
from tidegate.model.net import IPAddress
from tidegate.runtime.latest import Latest
from tidegate_lab import gateways, placement
from tidegate_lab.agents import Agents, last_lines
from tidegate_lab.cluster import Cluster
from tidegate_lab.clusterdir import ClusterDir
from tidegate_lab.control import Progress
from tidegate_lab.dns_server import DnsServer
from tidegate_lab.dns_zone import Zone
from tidegate_lab.endpoints import address_of, zone_service
from tidegate_lab.expose import Forwards
from tidegate_lab.load_balancers import LoadBalancers
from tidegate_lab.manifest import Manifest
from tidegate_lab.node import LabNode
from tidegate_lab.paths import LabPaths
from tidegate_lab.pod import PodRunner
from tidegate_lab.workloads import Existing, PodChanges, PodObject, letters, plan

log = logging.getLogger(__name__)

CRASHES = 6  # restarts after which a command no longer waits for a pod to become ready
LEAVE = 1.0  # seconds that the mesh gets to stop using a pod before it is told to end


class Lab:
    """The state of one lab and the operations on it. Use from one event loop."""

    def __init__(self, paths: LabPaths, nodes: Sequence[LabNode], agents: Agents) -> None:
        self.paths = paths
        self.nodes = nodes
        self.agents = agents
        self.cluster = Cluster()
        self.pods: dict[WorkloadId, PodRunner] = {}
        self.passes = Latest(0)  # of the controller; others wait for the next to look again
        self.zone = Zone()
        self.forwards = Forwards(nodes[0], self.endpoints)
        self.balancers = LoadBalancers(self.forwards.serve)
        self._dns = DnsServer(lambda: self.zone, self._captured)
        self._directory = ClusterDir(paths.cluster)
        self._changed = asyncio.Event()
        self._limit = asyncio.Semaphore(4)
        self._scheduler = placement.Scheduler(nodes)
        self._serial = itertools.count()
        self._controller: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to serve DNS and to reconcile; returns when the cluster directory is there. Raises OSError."""
        for node in self.nodes:
            await self._dns.start(node)
        self._controller = asyncio.create_task(self._run(), name="controller")
        self.wake()
        await self.passes.newer(0)

    async def stop(self) -> None:
        """End everything at once: the lab is going away."""
        if self._controller is not None:
            self._controller.cancel()
        self._dns.stop()
        self.forwards.close()
        self.balancers.close()
        await asyncio.gather(*(runner.stop(0) for runner in self.pods.values()), return_exceptions=True)
        await self.agents.stop()

    # --- commands

    def apply(self, documents: Iterable[Manifest]) -> None:
        """Create or replace objects. Raises Rejected with nothing changed."""
        documents = list(documents)
        placement.check(documents, self.nodes)
        self.cluster.apply(documents)
        self.wake()

    def delete(self, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
        """Remove objects; those that existed."""
        gone = self.cluster.delete(keys)
        self.wake()
        return gone

    async def settled(self, timeout: float, progress: Progress) -> None:
        """Until every pod is as wanted and every agent has the newest revision in force.

        Raises Transient that says which pod or agent is not, why, and how its log ends.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        self.wake()
        version, said = self.passes.version, ""
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - clock())):
                    version, _ = await self.passes.newer(version)
            except TimeoutError:
                raise self._stuck(f"not ready within {timeout:g} s") from None
            waiting = [runner for runner in self.pods.values() if runner.ending or not (runner.ready or runner.done)]
            if any(_has_failed(runner) for runner in self.pods.values()):
                raise self._stuck("failed")
            if not waiting and not self._plan():
                break
            if (line := f"{len(self.pods) - len(waiting)} of {len(self.pods)} pods ready") != said:
                said = line
                progress(line)
        await self.agents.wait_applied(self._directory.revision, max(1.0, deadline - clock()))
        ready = [runner for runner in self.pods.values() if runner.ready]
        await gateways.wait_applied(self.paths, ready, self._directory.revision, max(1.0, deadline - clock()))

    # --- looking things up

    def find(self, namespace: str, target: str) -> PodRunner:
        """The pod that POD or deploy/NAME means; of a Deployment's pods a ready one. Raises Rejected."""
        kind, slash, name = target.rpartition("/")
        if not slash or kind in ("pod", "po", "pods"):
            runner = self.pods.get(WorkloadId(namespace, name))
            if runner is not None:
                return runner
        elif kind in ("deploy", "deployment", "deployments"):
            mine = [
                runner
                for runner in self.pods.values()
                if (runner.pod.owner.kind, runner.pod.owner.namespace, runner.pod.owner.name)
                == ("Deployment", namespace, name)
            ]
            if mine:
                return max(mine, key=lambda runner: (runner.ready, not runner.ending))
        raise Rejected(f"{target} in namespace {namespace}", "no such pod", "see `tidegate lab pods`")

    def endpoints(self, name: ServiceName, port: int) -> list[tuple[str, int]]:
        """(address, port) of the pods behind a service port. Raises Rejected or, when none is ready, Transient."""
        for service in self.cluster.services():
            if service.name == name:
                return address_of(service, port, self.pods.values())
        raise Rejected(f"service {name}", "no such service")

    def _captured(self, client: IPAddress) -> bool:
        """Is that address a pod that Tidegate captures?"""
        for id_, runner in self.pods.items():
            if client in runner.ips:
                enrolment = self.agents.enrolments.get(id_)
                return enrolment is not None and enrolment.enrolled
        return False

    def node(self, name: str) -> LabNode:
        """Raises Rejected if there is no such node."""
        return placement.named(name, self.nodes)

    # --- the controller

    def wake(self) -> None:
        """Something changed: reconcile soon."""
        self._changed.set()

    async def _run(self) -> None:
        """Reconcile for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                self._reconcile()
                await self.balancers.follow(self.cluster.services())
            except Exception:
                log.exception("reconciling")
            await self.passes.set(self.passes.value + 1)

    def _reconcile(self) -> None:
        wanted = self._plan()
        created = [self._new_runner(pod) for pod in wanted.create]
        for pod in wanted.change:
            self.pods[pod.id].pod = pod
        for id_ in wanted.end:
            self.pods[id_].ending = True
        # Before CNI ADD and before SIGTERM: the agents have to know the pod when its ADD arrives, and to stop
        # choosing it before it goes.
        revision = self._directory.write(self.cluster, self.pods.values())
        services = [zone_service(service, self.pods.values()) for service in self.cluster.services()]
        self.zone = Zone.of(services, self.cluster.namespaces())
        for runner in created:
            runner.start(self._limit)
        for id_ in wanted.end:
            task = asyncio.create_task(self._end(self.pods[id_], revision), name=f"end of {id_}")
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    def _plan(self) -> PodChanges:
        existing = {id_: Existing(r.pod, r.ready, r.ending) for id_, r in self.pods.items()}
        return plan(self.cluster, existing, lambda: letters(f"{self.paths.name}/{next(self._serial)}", 5))

    def _new_runner(self, pod: PodObject) -> PodRunner:
        runner = PodRunner(pod, self._scheduler.place(pod), self.paths, self.wake, self.agents.refresh)
        self.pods[pod.id] = runner
        return runner

    async def _end(self, runner: PodRunner, revision: int) -> None:
        with contextlib.suppress(Transient):  # an agent that is away keeps nobody from ending a pod
            await self.agents.wait_applied(revision, LEAVE)
        try:
            await runner.stop(runner.pod.spec.termination_grace_period_seconds)
        except Exception:
            log.exception("ending pod %s", runner.pod.id)
        del self.pods[runner.pod.id]
        await asyncio.to_thread(shutil.rmtree, self.paths.pod_run(runner.pod.id), True)
        self.wake()

    def _stuck(self, what: str) -> Transient:
        """An error with the reason of every pod that is not ready and the last lines of its log."""
        lines = []
        for runner in self.pods.values():
            if runner.ready or runner.phase == "Succeeded":
                continue
            origin = runner.pod.document
            reason = "is ending" if runner.ending else runner.reason
            lines.append(f"  {runner.pod.id} on {runner.node.name} ({origin.source.path}:{origin.line}): {reason}")
            for container in runner.containers:
                if not container.ready:
                    lines.append(last_lines(container.log, 8))
        return Transient("pods", f"{what}:\n" + "\n".join(lines))


def _has_failed(runner: PodRunner) -> bool:
    """Is it pointless to wait for that pod? One that was told to end may do so with any exit code."""
    crashing = runner.restarts >= CRASHES and not runner.ready
    return not runner.ending and (runner.phase == "Failed" or crashing)
