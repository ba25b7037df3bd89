"""A relay's process of its own, asked over its control socket as the agent asks it."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Transient
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.plan.relay import L4Service
from tidegate.relay.connection import RelayConfig, RelayConnection
from tidegate.relay.events import FlowEvent, RelayStats
from tidegate.relay.image import ImageWriter, seal
from tidegate.relay.policy_file import PolicyWriter

BINARY = Path(__file__).resolve().parents[2] / "build" / "relay" / "tidegate-relay"


class RelayProcess:
    """Make one with start(); end it with stop() or kill()."""

    def __init__(self, directory: Path, process: asyncio.subprocess.Process) -> None:
        self.directory = directory
        self.process = process
        self.events: list[FlowEvent] = []
        self._writer = ImageWriter()
        self._taking: set[asyncio.Task[None]] = set()
        self.connection: RelayConnection  # set by connect()

    @classmethod
    async def start(
        cls,
        flows_fd: int = -1,
        wishes_fd: int = -1,
        files: int = 0,
        *,
        called_fd: int = -1,
        cgroup: Path | None = None,
        **config: Any,
    ) -> RelayProcess:
        """Config as RelayConfig; without flows_fd it is not configured. files: its RLIMIT_NOFILE, 0 = ours."""
        directory = Path(tempfile.mkdtemp(prefix="tg-relay-"))
        bounded = ["prlimit", f"--nofile={files}:{files}"] if files else []  # which execs
        self = cls(directory, await asyncio.create_subprocess_exec(*bounded, BINARY, directory))
        await self.connect()
        if cgroup is not None:  # it has opened no socket inside of a pod yet
            (cgroup / "cgroup.procs").write_text(str(self.pid))
        if flows_fd >= 0:
            await self.connection.configure(RelayConfig(**config), flows_fd, wishes_fd, called_fd)
            await self.connection.follow()
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def socket(self) -> Path:
        return self.directory / f"{self.pid}.sock"

    async def connect(self) -> None:
        """Once it listens; a second time as an agent that took another one's place."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                assert self.process.returncode is None, f"it ended: {self.process.returncode}"
                with suppress(Transient):
                    self.connection = await RelayConnection.open(self.socket, self._told)
                    return
                await asyncio.sleep(0.005)  # the poll itself

    def _told(self, connection: RelayConnection, serial: int, batch: list[FlowEvent]) -> None:
        self.events += batch
        task = asyncio.get_running_loop().create_task(self._take(connection, serial))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, connection: RelayConnection, serial: int) -> None:
        with suppress(Transient):
            await connection.taken(serial)

    async def add_sandbox(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]:
        return await self.connection.add_sandbox(cookie, netns_fd, v6)

    async def remove_sandbox(self, cookie: int) -> None:
        await self.connection.remove_sandbox(cookie)

    async def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        fd = seal(self._writer.lay_out(generation, services))
        try:
            await self.connection.publish(generation, fd)
        finally:
            os.close(fd)

    async def publish_policies(self, generation: int, table: PolicyTable) -> None:
        fd = seal(PolicyWriter().lay_out(generation, table))
        try:
            await self.connection.publish_policies(fd)
        finally:
            os.close(fd)

    async def stats(self) -> RelayStats:
        return await self.connection.stats()

    async def stop(self, drain: float = 0) -> None:
        """Until it has ended and told what its connections came to."""
        with suppress(Transient):
            await self.connection.drain(drain)
        await self.ended()

    async def ended(self) -> int:
        """Its exit status, once it has one."""
        status = await asyncio.wait_for(self.process.wait(), HANG_SECONDS)
        self.connection.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        return status

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    # --- what it costs ----------------------------------------------------------------------------------------------
    def resident(self) -> int:
        """Bytes in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def limit_files(self, soft: int) -> int:
        """Bound its descriptors; returns the bound before."""
        before, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))
        return before


@asynccontextmanager
async def running(flows_fd: int = -1, **config: Any) -> AsyncIterator[RelayProcess]:
    """A relay for the time of a test."""
    made = await RelayProcess.start(flows_fd, **config)
    try:
        yield made
    finally:
        await made.kill()
