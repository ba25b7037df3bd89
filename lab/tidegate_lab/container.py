"""One container: its process, its log, its probes, its restarts. Plays the kubelet for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tidegate.runtime.backoff import Backoff, no_jitter
from tidegate_lab import cgroups, spec
from tidegate_lab.expansion import AUTHORITY, CLUSTER, POD_RUN, TIDEGATE, command_line, environment, expand, port_number
from tidegate_lab.probes import Prober, ProbeResult, ProbeThreshold, watch
from tidegate_lab.sandbox import PodSandbox, hostname_of

BACKOFF_FIRST, BACKOFF_MAX = 0.3, 10.0  # seconds; a kubelet's 10 s to 5 min would only make people wait
# Without a readiness probe a container is ready when it runs; one that fails at once should not count as such.
SETTLE = 0.25  # seconds
STEADY = 10.0  # seconds after which a running container is no longer crashing


def _tidegate() -> str:
    return str(Path(sys.executable).parent / "tidegate")


class ContainerRunner:
    """Runs one container until it is finished (by its restart policy) or stopped."""

    def __init__(self, sandbox: PodSandbox, container: spec.Container, log: Path, changed: Callable[[], None]) -> None:
        self.container = container
        self.log = log
        self.restarts = 0
        self.running = False
        self.ready = False
        self.exit_code: int | None = None  # of the last run
        self.message = "not started"
        self.started = asyncio.Event()  # runs, and its startup probe was content: what comes after it may begin
        self._ended = ""  # how the run before ended
        self._sandbox = sandbox
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._cgroup = cgroups.make(sandbox.cgroup / f"c-{container.name}")
        pod, node = sandbox.pod, sandbox.node
        # For a container that is part of the mesh itself: where its configuration is, where it may keep things.
        paths = sandbox.paths
        given = {
            CLUSTER: str(paths.cluster),
            POD_RUN: str(log.parent),
            TIDEGATE: _tidegate(),
            AUTHORITY: str(paths.authority),
        }
        variables = environment(pod, container, node.name, node.ips[0], sandbox.ips, given)
        cwd = pod.manifest_dir / expand(container.working_dir, variables)
        self.cwd = str(cwd)
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": os.environ.get("HOME", "/"),
            "HOSTNAME": hostname_of(pod),
            **variables,
        }

    async def run(self, policy: str) -> int:
        """Start, watch and restart by policy (Always, OnFailure, Never); the exit code once it is not restarted."""
        backoff = Backoff(no_jitter, base=BACKOFF_FIRST, cap=BACKOFF_MAX, reset_after=STEADY)
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            code = await self._run_once()
            if self._stopping or policy == "Never" or (policy == "OnFailure" and code == 0):
                return code
            await asyncio.sleep(backoff.next(clock() - started))
            self.restarts += 1

    async def stop(self, grace: float) -> None:
        """SIGTERM, and after grace seconds SIGKILL. Returns when the process is gone."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            cgroups.kill(self._cgroup)
            await process.wait()

    async def _run_once(self) -> int:
        with self.log.open("ab") as log:
            self._process = await self._start(command_line(self.container, self.env), log.fileno(), log.fileno())
        self.running = True
        self.message = f"running again after {self._ended}" if self._ended else "running"
        self._set_ready(False)
        probes = asyncio.create_task(self._probe())
        try:
            code = await self._process.wait()
        finally:
            probes.cancel()
            await asyncio.gather(probes, return_exceptions=True)
            cgroups.kill(self._cgroup)  # what the main process left behind dies with it, as in a pid namespace
            self.running = False
        self.exit_code = code
        self._ended = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        self.message = self._ended if self.message.startswith("running") else f"{self.message}; {self._ended}"
        self._set_ready(False)
        return code

    async def _start(self, command: list[str], stdout: int, stderr: int) -> asyncio.subprocess.Process:
        context = self.container.security_context
        pod_context = self._sandbox.pod.spec.security_context
        uid = pod_context.run_as_user if context.run_as_user is None else context.run_as_user
        gid = pod_context.run_as_group if context.run_as_group is None else context.run_as_group
        entry = self._sandbox.entry(self._cgroup, self.cwd)
        return await asyncio.create_subprocess_exec(
            *entry.argv(command, uid, gid),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=self.env,
            start_new_session=True,
        )

    async def _probe(self) -> None:
        """Startup probe first, if any; then readiness and liveness side by side."""
        container = self.container
        if container.startup_probe is not None:
            await self._until_started(container.startup_probe)
        self.started.set()
        watches = []
        if container.liveness_probe is not None:
            watches.append(self._watch(container.liveness_probe, self._on_liveness, True))
        if container.readiness_probe is not None:
            watches.append(self._watch(container.readiness_probe, self._on_readiness, False))
        else:
            watches.append(self._ready_soon())
        await asyncio.gather(*watches)

    async def _ready_soon(self) -> None:
        await asyncio.sleep(SETTLE)
        self._set_ready(True)

    async def _until_started(self, probe: spec.Probe) -> None:
        started = asyncio.Event()

        def report(outcome: ProbeResult, changed: bool) -> None:
            if outcome.ok and changed:
                started.set()
            else:
                self._on_liveness(outcome, changed)

        watching = asyncio.create_task(self._watch(probe, report, None))
        try:
            await started.wait()
        finally:
            watching.cancel()

    async def _watch(self, probe: spec.Probe, report: Callable[[ProbeResult, bool], None], start: bool | None) -> None:
        ip = str(self._sandbox.ips[0])
        prober = Prober(ip, self._sandbox.node.inside, lambda port: port_number(self.container, port), self._execute)
        await watch(probe, prober, ProbeThreshold(probe, start), report)

    def _on_readiness(self, outcome: ProbeResult, changed: bool) -> None:
        self.message = "running" if outcome.ok else f"readiness probe: {outcome.detail}"
        if changed:
            self._set_ready(outcome.ok)

    def _on_liveness(self, outcome: ProbeResult, changed: bool) -> None:
        if changed and not outcome.ok:
            self.message = f"killed by its probe: {outcome.detail}"
            cgroups.kill(self._cgroup)

    async def _execute(self, command: tuple[str, ...]) -> ProbeResult:
        process = await self._start([expand(word, self.env) for word in command], *(asyncio.subprocess.DEVNULL,) * 2)
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        return ProbeResult(code == 0, f"exit code {code}")

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._changed()
