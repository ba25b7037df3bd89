"""Keeps one Envoy running: start or adopt, watch, restart with back-off, end it in order.

Invariant: at most one Envoy is in the cgroup. Cancelling run() leaves Envoy alone (the next agent adopts it); only
stop() ends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import resource
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from tidegate.envoy.admin import Admin
from tidegate.envoy.bootstrap import bootstrap, write_private
from tidegate.errors import Fatal, Transient
from tidegate.linux.cgroup_dir import Cgroup
from tidegate.linux.process import CONFINED, Process, read_identity
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock, SystemClock

log = logging.getLogger(__name__)

UNIX_PATH_MAX = 107  # sun_path without its final NUL
KEPT_LOGS = 3
POLL_STARTING, POLL_RUNNING = 0.05, 1.0  # seconds between two looks at /ready
HUNG_SECONDS = 30.0  # silence of the admin interface after which Envoy is killed
TERM_SECONDS = 3.0  # between SIGTERM and SIGKILL


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"  # runs, but is not ready: it has no configuration yet
    RUNNING = "running"
    UNRESPONSIVE = "unresponsive"  # runs, but its admin interface is silent
    WAITING = "waiting"  # ended; the next start is due soon
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class EnvoyStatus:
    state: State
    pid: int  # 0 = none
    restarts: int
    last_exit: str  # "" = never
    since: float  # seconds since the epoch at which this state began
    adopted: bool  # the process was started by an earlier agent


class EnvoySupervisor:
    """One Envoy of this node. run_dir gets a directory envoy/ with bootstrap, pid file, log and admin socket."""

    def __init__(
        self,
        binary: Path,
        run_dir: Path,
        node_id: str,
        xds_socket: Path,
        cgroup: Path,
        concurrency: int = 1,
        clock: Clock | None = None,
        *,
        jitter: Callable[[], float] = random.random,
        drain_seconds: int = 45,
    ) -> None:
        self._binary = binary
        self._dir = run_dir / "envoy"
        self._node_id = node_id
        self._xds_socket = xds_socket
        self._cgroup = Cgroup(cgroup)
        self._concurrency = concurrency
        self._clock = clock or SystemClock()
        self._backoff = Backoff(jitter)
        self._drain_seconds = drain_seconds
        self._admin = Admin(self.admin_socket)
        self._process: Process | None = None
        self._digest = ""  # of everything that Envoy is launched with; "" = take_over() is still to come
        self._stopping = False
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._restarts = 0
        self._last_exit = ""
        self._killed_for = ""  # why we ended the one that runs ourselves
        self._state = State.STOPPED
        self._since = self._clock.now()

    @property
    def admin_socket(self) -> Path:
        return self._dir / "admin.sock"

    @property
    def admin(self) -> Admin:
        return self._admin

    def status(self) -> EnvoyStatus:
        process = self._process
        return EnvoyStatus(
            self._state,
            process.pid if process else 0,
            self._restarts,
            self._last_exit,
            self._since,
            process.adopted if process else False,
        )

    async def take_over(self) -> None:
        """Adopt the Envoy of an earlier agent, or end it. Raises Fatal if Envoy can never run here.

        To be done before the ADS server listens: an Envoy that is to be replaced would connect to it, and its answers
        would count for the one that comes.
        """
        digest = self._prepare()
        self._process = await self._adopt(digest)
        self._digest = digest

    async def run(self) -> None:
        """Keep Envoy running until stop(). Raises Fatal if it can never run here."""
        self._ended.clear()
        try:
            if not self._digest:
                await self.take_over()
            while not self._stopping:
                began = self._clock.monotonic()
                try:
                    if self._process is None:
                        self._process = self._launch(self._digest)
                    how = await self._watch(self._process)
                    self._last_exit = f"{how} ({self._killed_for})" if self._killed_for else how
                except Transient as error:
                    self._last_exit = str(error)
                self._process = None
                if self._stopping:
                    break
                delay = self._backoff.next(self._clock.monotonic() - began)
                log.warning("envoy ended (%s), next start in %.2f s", self._last_exit, delay)
                self._restarts += 1
                self._enter(State.WAITING)
                await self._pause(delay)
        finally:
            if self._process is not None:
                self._process.abandon()
            self._ended.set()

    async def stop(self, drain: float) -> None:
        """End Envoy: let connections finish for up to drain seconds, then SIGTERM, then SIGKILL; clean up."""
        self._stopping = True
        process = self._process
        if process is not None:
            self._enter(State.STOPPING)
            if drain > 0:
                await self._drain(process, drain)
            await self._terminate(process)
        self._wake.set()
        await self._ended.wait()
        await self._clean_up()
        self._enter(State.STOPPED)

    # --- start ------------------------------------------------------------------------------------------------------
    def _prepare(self) -> str:
        """Write what Envoy reads; returns the digest of everything that it is launched with."""
        if not os.access(self._binary, os.X_OK):
            raise Fatal(f"Envoy {self._binary}", "is not an executable file", "run `make setup`")
        if len(str(self.admin_socket).encode()) > UNIX_PATH_MAX:
            raise Fatal(f"socket {self.admin_socket}", f"is longer than {UNIX_PATH_MAX} bytes", "shorten --run-dir")
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dir.chmod(0o700)
        self._cgroup.create()
        text = write_private(
            self._dir / "bootstrap.json",
            bootstrap(
                node_id=self._node_id,
                xds_socket=self._xds_socket,
                admin_socket=self.admin_socket,
                max_connections=connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            ),
        )
        binary = self._binary.resolve().stat()
        image = (binary.st_dev, binary.st_ino, binary.st_size, binary.st_mtime_ns)
        return hashlib.sha256(repr((text, CONFINED, self._argv(), image)).encode()).hexdigest()

    def _argv(self) -> list[str]:
        return [
            *(str(self._binary), "-c", str(self._dir / "bootstrap.json")),
            *("--concurrency", str(self._concurrency)),
            *("--drain-time-s", str(self._drain_seconds), "--drain-strategy", "immediate"),
            *("--log-level", "warning"),
            # Several nodes of a lab share this machine's /dev/shm, and we restart instead of overlapping.
            "--disable-hot-restart",
        ]

    async def _adopt(self, digest: str) -> Process | None:
        """Take over the Envoy of an earlier agent, if it is one and runs with what we would start it with."""
        identity = read_identity(self._pid_file)
        process = Process.adopt(identity) if identity and identity.pid in self._cgroup.pids() else None
        if process is not None and process.identity.digest != digest:
            log.warning("envoy %d was launched with other settings: replacing it", process.pid)
            await self._terminate(process)
            process = None
        strays = self._cgroup.kill_others(process.pid if process else 0)
        if strays:
            log.warning("killed processes without an owner in Envoy's cgroup: %s", strays)
        if process is not None:
            log.info("adopted envoy %d", process.pid)
        return process

    def _launch(self, digest: str) -> Process:
        log_file = self._dir / "envoy.log"
        rotate(log_file, KEPT_LOGS)
        process = Process.launch(self._argv(), cgroup=self._cgroup.path, log=log_file, digest=digest, through=CONFINED)
        write_private(self._pid_file, asdict(process.identity))
        log.info("started envoy %d", process.pid)
        return process

    # --- watch ------------------------------------------------------------------------------------------------------
    async def _watch(self, process: Process) -> str:
        self._enter(State.STARTING)
        self._killed_for = ""
        health = asyncio.create_task(self._check_health(process))
        try:
            return await process.wait()
        finally:
            health.cancel()

    async def _check_health(self, process: Process) -> None:
        heard = self._clock.monotonic()
        while True:
            try:
                ready = await self._admin.ready()
                heard = self._clock.monotonic()
                state = State.RUNNING if ready else State.STARTING
            except Transient:
                silent = self._clock.monotonic() - heard
                state = State.STARTING if self._state == State.STARTING else State.UNRESPONSIVE
                if silent >= HUNG_SECONDS:
                    log.error("envoy %d has been silent for %.0f s: killing it", process.pid, silent)
                    process.signal(signal.SIGKILL)
                    self._killed_for = f"killed by the agent: silent for {HUNG_SECONDS:.0f} s"
            if not self._stopping:
                self._enter(state)
            await self._clock.sleep(POLL_RUNNING if state == State.RUNNING else POLL_STARTING)

    # --- end --------------------------------------------------------------------------------------------------------
    async def _drain(self, process: Process, seconds: float) -> None:
        deadline = self._clock.monotonic() + seconds
        try:
            await self._admin.post("/drain_listeners?graceful&skip_exit")
            while await self._connections() and self._clock.monotonic() < deadline:
                await self._clock.sleep(POLL_STARTING)
        except Transient as error:
            log.warning("envoy %d cannot drain: %s", process.pid, error)

    async def _connections(self) -> int:
        """Client connections that are open now, without those of the admin interface."""
        page = await self._admin.get("/stats?format=json&filter=" + r"^listener\..*\.downstream_cx_active$")
        stats = json.loads(page)["stats"]
        return sum(int(s["value"]) for s in stats if "value" in s and not s["name"].startswith("listener.admin."))

    async def _terminate(self, process: Process) -> None:
        process.signal(signal.SIGTERM)
        waiting = asyncio.create_task(process.wait())
        timer = asyncio.create_task(self._clock.sleep(TERM_SECONDS))
        await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not waiting.done():
            log.warning("envoy %d ignored SIGTERM for %.0f s: killing it", process.pid, TERM_SECONDS)
            process.signal(signal.SIGKILL)
        await waiting

    async def _clean_up(self) -> None:
        self._cgroup.kill_others()
        self._pid_file.unlink(missing_ok=True)
        self.admin_socket.unlink(missing_ok=True)
        while not self._cgroup.remove():
            await self._clock.sleep(POLL_STARTING)

    # ----------------------------------------------------------------------------------------------------------------
    @property
    def _pid_file(self) -> Path:
        return self._dir / "pid"

    def _enter(self, state: State) -> None:
        if state != self._state:
            self._state, self._since = state, self._clock.now()

    async def _pause(self, seconds: float) -> None:
        waking = asyncio.create_task(self._wake.wait())
        timer = asyncio.create_task(self._clock.sleep(seconds))
        await asyncio.wait({waking, timer}, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        timer.cancel()


def connection_limit(open_files: int) -> int:
    """Client connections that so many descriptors allow: each has an upstream one, and a reserve stays for the rest."""
    return max(64, (open_files - 512) // 2)


def rotate(path: Path, keep: int) -> None:
    """Move path to path.1, path.1 to path.2 and so on; the oldest of keep goes."""
    for number in range(keep, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
