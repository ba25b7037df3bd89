"""One pod from creation to end. Plays the kubelet's pod worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tidegate.errors import TidegateError
from tidegate.model.net import IPAddress
from tidegate.runtime.backoff import Backoff, no_jitter
from tidegate_lab import sandbox as sandboxes
from tidegate_lab.container import ContainerRunner
from tidegate_lab.node import LabNode
from tidegate_lab.paths import LabPaths
from tidegate_lab.sandbox import PodSandbox
from tidegate_lab.workloads import PodObject

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class PodRunner:
    """A pod that exists. changed() is called after every change that others can see, attached() after CNI ADD."""

    pod: PodObject
    node: LabNode
    paths: LabPaths
    changed: Callable[[], None]
    attached: Callable[[], Awaitable[object]]
    phase: str = "Pending"  # Pending, Running, Succeeded, Failed
    ending: bool = False
    message: str = "waiting for its sandbox"
    sandbox: PodSandbox | None = None
    containers: list[ContainerRunner] = field(default_factory=list)  # those of sidecars last
    _sidecars: list[ContainerRunner] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return self.sandbox.ips if self.sandbox else ()

    @property
    def ready(self) -> bool:
        return self.phase == "Running" and not self.ending and all(runner.ready for runner in self.containers)

    @property
    def done(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def restarts(self) -> int:
        return sum(runner.restarts for runner in self.containers)

    @property
    def reason(self) -> str:
        """Why the pod is not ready, one phrase; empty when it is."""
        if self.ready:
            return ""
        waiting = [f"container {r.container.name}: {r.message}" for r in self.containers if not r.ready]
        return "; ".join(waiting) if self.phase != "Pending" and waiting else self.message

    def start(self, limit: asyncio.Semaphore) -> None:
        """Begin; limit bounds how many sandboxes are made at the same time."""
        self._task = asyncio.create_task(self._run(limit), name=f"pod {self.pod.id}")

    async def stop(self, grace: float) -> None:
        """SIGTERM, up to grace seconds, SIGKILL; then CNI DEL and removal of everything that the pod had."""
        await asyncio.gather(*(runner.stop(grace) for runner in self.containers if runner not in self._sidecars))
        await asyncio.gather(*(runner.stop(grace) for runner in self._sidecars))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.sandbox is not None:
            await sandboxes.destroy(self.sandbox)
            self.sandbox = None

    async def _run(self, limit: asyncio.Semaphore) -> None:
        try:
            async with limit:
                self.sandbox = await self._create()
            await self.attached()
            self.message = "starting"
            self.changed()
            self.phase = await self._run_containers(self.sandbox)
        except TidegateError as error:
            self.phase, self.message = "Failed", str(error)
        except OSError as error:
            self.phase, self.message = "Failed", f"cannot start: {error}"
        except Exception as error:
            log.exception("pod %s", self.pod.id)
            self.phase, self.message = "Failed", f"internal error: {error!r}"
        self.changed()

    async def _create(self) -> PodSandbox:
        """Sandboxes are retried for ever, like a kubelet does: the agent may be away at the moment (CNI error 11)."""
        backoff = Backoff(no_jitter, base=0.2, cap=5.0)
        while True:
            try:
                return await sandboxes.create(self.paths, self.pod, self.node)
            except TidegateError as error:
                self.message = str(error)
                log.warning("pod %s: %s", self.pod.id, error)
                self.changed()
            await asyncio.sleep(backoff.next(0.0))

    async def _run_containers(self, sandbox: PodSandbox) -> str:
        try:
            async with asyncio.TaskGroup() as tasks:
                phase = await self._run_in_order(sandbox, tasks)
                grace = self.pod.spec.termination_grace_period_seconds
                await asyncio.gather(*(runner.stop(grace) for runner in self._sidecars))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # a container that cannot be started is one error, whichever it is
        return phase

    async def _run_in_order(self, sandbox: PodSandbox, tasks: asyncio.TaskGroup) -> str:
        """Init containers one after the other, then the containers. Sidecars run in tasks until they are stopped."""
        spec = self.pod.spec
        logs = self.paths.pod_run(self.pod.id)
        for container in spec.init_containers:
            init = ContainerRunner(sandbox, container, logs / f"{container.name}.log", self.changed)
            self.containers = [init, *self._sidecars]
            self.message = f"init container {container.name} is running"
            if container.is_sidecar:
                self._sidecars = [*self._sidecars, init]
                tasks.create_task(init.run("Always"), name=f"sidecar {container.name} of {self.pod.id}")
                await init.started.wait()
            elif await init.run("Never" if spec.restart_policy == "Never" else "OnFailure"):
                return "Failed"
        main = [
            ContainerRunner(sandbox, container, logs / f"{container.name}.log", self.changed)
            for container in spec.containers
        ]
        self.containers = [*main, *self._sidecars]
        self.phase = "Running"
        codes = await asyncio.gather(*(runner.run(spec.restart_policy) for runner in main))
        return "Failed" if any(codes) else "Succeeded"
