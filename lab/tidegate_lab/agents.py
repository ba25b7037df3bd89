"""The nodes' agents: started in their node's namespace and cgroup, restarted when they die, asked what they applied.

Plays the DaemonSet. An agent's Envoy lives below the agent's cgroup and survives the agent, so a dead agent's cgroup is
not emptied; that is done when the lab ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tidegate.errors import Transient
from tidegate.model.names import WorkloadId, cluster_domain
from tidegate.runtime.backoff import Backoff, no_jitter
from tidegate_lab.expansion import NODE, expand
from tidegate_lab.launch import in_cgroup, in_netns
from tidegate_lab.node import LabNode
from tidegate_lab.paths import LabPaths

log = logging.getLogger(__name__)

POLL = 0.02  # seconds between questions while something waits for a revision
IDLE_POLL = 1.0
ANSWER = 20.0  # seconds that an agent of a busy machine may take for an answer


@dataclass(frozen=True, slots=True)
class EnrolmentReport:
    """What an agent says about one pod of its node."""

    enrolled: bool
    reason: str = ""
    identity: str = ""


@dataclass(slots=True, eq=False)
class NodeAgent:
    """One supervised agent."""

    node: LabNode
    paths: LabPaths
    restarts: int = 0
    pid: int | None = None
    _process: asyncio.subprocess.Process | None = None
    _stopping: bool = False

    @property
    def run_dir(self) -> Path:
        return self.paths.node_run(self.node.name)

    def command(self) -> list[str]:
        agent = [sys.executable, "-m", "tidegate", "agent", "--node", self.node.name]
        agent += ["--config", f"file:{self.paths.cluster}", "--run-dir", str(self.run_dir)]
        agent += ["--cluster-domain", cluster_domain(), "--ca-dir", str(self.paths.authority)]
        agent += ["--bpffs", str(self.paths.node_bpffs(self.node.name)), "--cgroup", str(self.node.cgroup)]
        return in_cgroup(self.node.cgroup / "agent", in_netns(self.node.netns, [*agent, "--workers", "1"]))

    def settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What every process inherits; $(LAB_NODE) in a setting of agents is this node's name."""
        given = {NODE: self.node.name}
        return {key: expand(value, given) if key.startswith("TIDEGATE_") else value for key, value in environ.items()}

    async def run(self) -> None:
        """Start and restart until stopped. The pause between attempts is 0.2 s at first and grows to 5 s."""
        backoff = Backoff(no_jitter, base=0.2, cap=5.0)
        clock = asyncio.get_running_loop().time
        while not self._stopping:
            started = clock()
            with (self.run_dir / "agent.log").open("ab") as out:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command(),
                    env=self.settings(os.environ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            self.pid = self._process.pid
            code = await self._process.wait()
            self.pid = None
            if self._stopping:
                return
            log.warning("agent of %s ended with %s", self.node.name, code)
            await asyncio.sleep(backoff.next(clock() - started))
            self.restarts += 1

    async def stop(self, grace: float) -> None:
        """SIGTERM, up to grace seconds, SIGKILL."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def status(self) -> dict[str, Any]:
        """GET /status. Raises Transient when the agent does not answer."""
        return await ask_status(f"agent of {self.node.name}", self.run_dir / "agent.sock", self.run_dir / "agent.log")


@dataclass(slots=True, eq=False)
class Agents:
    """All agents of the lab; none with --mesh off."""

    agents: Sequence[NodeAgent] = ()
    enrolments: Mapping[WorkloadId, EnrolmentReport] = field(default_factory=dict)
    _said: dict[str, Mapping[WorkloadId, EnrolmentReport]] = field(default_factory=dict)  # by node
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Start every agent; changed() is awaited whenever the enrolment of a pod is seen to differ."""
        self._tasks = [asyncio.create_task(agent.run()) for agent in self.agents]
        if self.agents:
            self._tasks.append(asyncio.create_task(self._follow(changed)))

    async def stop(self) -> None:
        """Stop every agent and forget them."""
        await asyncio.gather(*(agent.stop(5.0) for agent in self.agents))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_up(self, timeout: float) -> None:
        """Until every agent answers. Raises Transient naming the one that does not and its last log lines."""
        await self._wait(lambda status: True, timeout, "does not come up")

    async def wait_applied(self, revision: int, timeout: float) -> None:
        """Until every node's agent has the revision in force. Raises Transient."""
        reason = f"has not put revision {revision} of the cluster into force within {timeout:g} s"
        await self._wait(lambda status: revision_of(status) >= revision, timeout, reason)

    async def refused(self, objects: Collection[str]) -> list[str]:
        """What of these objects (KIND NAMESPACE/NAME) some agent could not put into force, and why."""
        found = []
        for agent in self.agents:
            for applier in (await agent.status())["appliers"].values():
                for failure in applier["failures"]:
                    about = [origin for origin in failure["origins"] if origin.partition(" (")[0] in objects]
                    found += [f"{agent.node.name}: {origin}: {failure['reason']}" for origin in about]
        return sorted(set(found))

    async def refresh(self) -> bool:
        """Ask every agent once; True if some enrolment differs from before.

        What an agent said stays true while it is away or has just begun: its pods are captured all the same.
        """
        before = self.enrolments
        for agent in self.agents:
            with contextlib.suppress(Transient):
                status = await agent.status()
                if revision_of(status) > 0:
                    self._said[agent.node.name] = _enrolments(status)
        self.enrolments = {pod: said for one in self._said.values() for pod, said in one.items()}
        return self.enrolments != before

    async def _follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        while True:
            if await self.refresh():
                await changed()
            await asyncio.sleep(IDLE_POLL)

    async def _wait(self, wanted: Callable[[Mapping[str, Any]], bool], timeout: float, reason: str) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        for agent in self.agents:
            last = ""
            while True:
                try:
                    if wanted(await agent.status()):
                        break
                except Transient as error:
                    last = error.reason
                if clock() > deadline:
                    tail = last_lines(agent.run_dir / "agent.log", 8)
                    raise Transient(f"agent of {agent.node.name}", f"{reason} {last}".strip(), f"its log ends:\n{tail}")
                await asyncio.sleep(POLL)
        await self.refresh()


async def ask_status(who: str, socket: Path, log_file: Path) -> dict[str, Any]:
    """GET /status of an agent or a gateway. Raises Transient when it does not answer."""
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=ANSWER)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://agent/status") as response,
        ):
            value = await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise Transient(who, f"does not answer: {error}", f"see {log_file}") from None
    if not isinstance(value, dict):
        raise Transient(who, "answers something that is no status")
    return value


def revision_of(status: Mapping[str, Any]) -> int:
    """The revision of the cluster that is in force by a status; -1 if it tells none."""
    applied = status.get("applied")
    revision = applied.get("revision") if isinstance(applied, dict) else None
    return revision if isinstance(revision, int) else -1


def _enrolments(status: Mapping[str, Any]) -> dict[WorkloadId, EnrolmentReport]:
    return {
        WorkloadId(str(pod["namespace"]), str(pod["name"])): EnrolmentReport(
            bool(pod.get("enrolled")), str(pod.get("reason") or ""), str(pod.get("identity") or "")
        )
        for pod in status.get("pods") or ()
    }


def last_lines(path: Path, count: int) -> str:
    """The end of a log, each line indented; a phrase when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        lines = []
    return "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"
