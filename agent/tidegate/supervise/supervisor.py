"""Keeps one program running: start or adopt, watch, restart with back-off, end it in order.

Invariant: nothing is in the program's cgroup but the process that runs and those that were retired. Cancelling run()
leaves them alone (the next agent adopts them); only stop() ends them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from tidegate.errors import Transient
from tidegate.linux.cgroup_dir import Cgroup
from tidegate.linux.process import CONFINED, Process, read_identity
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.latest import Latest
from tidegate.supervise.files import rotate, write_private

log = logging.getLogger(__name__)

KEPT_LOGS = 3
CGROUP_FILE = "cgroup.json"  # where the program was put: who ends it later may be in another group than who started it
POLL_STARTING, POLL_RUNNING = 0.05, 1.0  # seconds between two looks at its health
HUNG_SECONDS = 30.0  # silence after which a program is killed, unless its class says otherwise
TERM_SECONDS = 3.0  # between SIGTERM and SIGKILL


class ProgramState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"  # runs, but is not ready: it has no configuration yet
    RUNNING = "running"
    UNRESPONSIVE = "unresponsive"  # runs, but is silent
    WAITING = "waiting"  # ended; the next start is due soon
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    state: ProgramState
    pid: int  # 0 = none
    restarts: int
    last_exit: str  # "" = never
    since: float  # seconds since the epoch at which this state began
    adopted: bool  # the process was started by an earlier agent
    retired: int = 0  # processes that were replaced and still end what they have
    memory_max: int = 0  # bytes that its cgroup may have; 0 = not bounded


class Supervisor(ABC):
    """One program of this node. Its directory has pid file, log, and what a subclass puts there."""

    hung_seconds: float | None = HUNG_SECONDS  # None: never killed for being silent
    confined: Sequence[str] = CONFINED  # through which command it is started, with few rights
    overlaps = False  # whether one that runs with other settings is retired instead of ended before the next one starts

    def __init__(
        self,
        name: str,
        directory: Path,
        cgroup: Path,
        clock: Clock | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._dir = directory
        self._cgroup = Cgroup(cgroup)
        self._clock = clock or SystemClock()
        self._backoff = Backoff(jitter)
        self._process: Process | None = None
        self._retired: dict[int, Process] = {}  # by pid
        self.processes: Latest[tuple[int, tuple[int, ...]]] = Latest((0, ()))  # pid that runs (0 = none), retired ones
        self._digest = ""  # of everything that it is launched with; "" = take_over() is still to come
        self._memory_max = 0
        self._stopping = False
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._restarts = 0
        self._last_exit = ""
        self._killed_for = ""  # why we ended the one that runs ourselves
        self._state = ProgramState.STOPPED
        self._since = self._clock.now()
        self._reapers: set[asyncio.Task[None]] = set()

    def status(self) -> ProgramStatus:
        process = self._process
        return ProgramStatus(
            self._state,
            process.pid if process else 0,
            self._restarts,
            self._last_exit,
            self._since,
            process.adopted if process else False,
            len(self._retired),
            self._memory_max,
        )

    async def take_over(self) -> None:
        """Adopt the process of an earlier agent, or end it, or retire it. Raises Fatal if it can never run here.

        To be done before anything listens that it would connect to: the answers of one that is to be replaced would
        count for the one that comes.
        """
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dir.chmod(0o700)
        digest = self._prepare()
        self._cgroup.create()
        limit = self._memory_limit()
        why_not = self._cgroup.bound_memory(limit) if limit else ""
        self._memory_max = 0 if why_not else limit
        if why_not:
            log.info("%s's cgroup has no bound of memory: %s", self.name, why_not)
        write_private(self._dir / CGROUP_FILE, {"cgroup": str(self._cgroup.path)})
        self._process = await self._adopt(digest)
        self._digest = digest

    async def run(self) -> None:
        """Keep it running until stop(). Raises Fatal if it can never run here."""
        self._ended.clear()
        try:
            if not self._digest:
                await self.take_over()
            while not self._stopping:
                began = self._clock.monotonic()
                try:
                    if self._process is None:
                        self._process = self._launch(self._digest)
                    await self._tell()
                    pid = self._process.pid
                    how = await self._watch(self._process)
                    self._forget(pid)
                    self._last_exit = f"{how} ({self._killed_for})" if self._killed_for else how
                except Transient as error:
                    self._last_exit = str(error)
                self._process = None
                await self._tell()
                if self._stopping:
                    break
                delay = self._backoff.next(self._clock.monotonic() - began)
                log.warning("%s ended (%s), next start in %.2f s", self.name, self._last_exit, delay)
                self._restarts += 1
                self._enter(ProgramState.WAITING)
                await self._pause(delay)
        finally:
            self._let_go()
            self._ended.set()

    async def stop(self, drain: float) -> None:
        """End it: let connections finish for up to drain seconds, then SIGTERM, then SIGKILL; clean up."""
        self._stopping = True
        processes = [p for p in (self._process, *self._retired.values()) if p is not None]
        if processes:
            self._enter(ProgramState.STOPPING)
            if drain > 0:
                await asyncio.gather(*(self._drain(process, drain) for process in processes))
            await asyncio.gather(*(self._terminate(process) for process in processes))
        self._wake.set()
        await self._ended.wait()
        await asyncio.gather(*self._reapers, return_exceptions=True)
        await self._clean_up()
        self._enter(ProgramState.STOPPED)

    async def end(self, drain: float) -> None:
        """stop() for what an earlier agent left running, whatever it was launched with."""
        self._process = await self._adopt(None)
        await self.stop(drain)

    # --- what a program is ------------------------------------------------------------------------------------------
    @abstractmethod
    def _prepare(self) -> str:
        """Write what it reads; returns a digest of everything that it is launched with. Raises Fatal."""

    def _memory_limit(self) -> int:
        """Bytes that its cgroup may have; 0 = no bound."""
        return 0

    @abstractmethod
    def _argv(self) -> Sequence[str]:
        """The command, once prepared."""

    @abstractmethod
    async def _is_ready(self, process: Process) -> bool:
        """Whether it does its work; asked often. Raises Transient if it is silent."""

    @abstractmethod
    async def _drain(self, process: Process, seconds: float) -> None:
        """Take no new connections; return when the old ones have ended, or after so many seconds."""

    @abstractmethod
    def _forget(self, pid: int) -> None:
        """Remove what a process that has ended left in the directory, besides its log."""

    # --- start ------------------------------------------------------------------------------------------------------
    async def _adopt(self, digest: str | None) -> Process | None:
        """Take over the process of an earlier agent, if it was launched as we would (None: however it was)."""
        members = self._cgroup.pids()
        for path in sorted(self._retired_dir.glob("*")):
            identity = read_identity(path)
            old = Process.adopt(identity) if identity and identity.pid in members else None
            if old is None:
                path.unlink()
                if identity is not None:
                    self._forget(identity.pid)
            else:
                self._follow_retired(old)
        identity = read_identity(self._pid_file)
        process = Process.adopt(identity) if identity and identity.pid in members else None
        if process is not None and process.pid in self._retired:
            process.abandon()  # an agent was killed between retiring it and starting the next one
            process = None
        if process is not None and digest is not None and process.identity.digest != digest:
            log.warning("%s %d was launched with other settings: replacing it", self.name, process.pid)
            if self.overlaps:
                self._retire(process)
            else:
                await self._terminate(process)
            process = None
        strays = self._cgroup.kill_others({*self._retired, *([process.pid] if process else [])})
        if strays:
            log.warning("killed processes without an owner in %s's cgroup: %s", self.name, strays)
        if process is not None:
            log.info("adopted %s %d", self.name, process.pid)
        return process

    def _launch(self, digest: str) -> Process:
        log_file = self._dir / f"{self.name}.log"
        rotate(log_file, KEPT_LOGS)
        process = Process.launch(
            self._argv(), cgroup=self._cgroup.path, log=log_file, digest=digest, through=self.confined
        )
        write_private(self._pid_file, asdict(process.identity))
        log.info("started %s %d", self.name, process.pid)
        return process

    # --- one generation beside the next -----------------------------------------------------------------------------
    def _retire(self, process: Process) -> None:
        """Keep it beside the next one, over our own end too."""
        self._retired_dir.mkdir(mode=0o700, exist_ok=True)
        write_private(self._retired_dir / str(process.pid), asdict(process.identity))
        self._follow_retired(process)

    def _follow_retired(self, process: Process) -> None:
        self._retired[process.pid] = process
        task = asyncio.create_task(self._reap_retired(process), name=f"retired {self.name} {process.pid}")
        self._reapers.add(task)
        task.add_done_callback(self._reapers.discard)

    async def _reap_retired(self, process: Process) -> None:
        how = await process.wait()
        if self._retired.pop(process.pid, None) is None:
            return  # we left it alone
        log.info("retired %s %d has ended", self.name, process.pid)
        (self._retired_dir / str(process.pid)).unlink(missing_ok=True)
        self._forget(process.pid)
        await self._tell()
        log.debug("retired %s %d: %s", self.name, process.pid, how)

    async def _tell(self) -> None:
        await self.processes.set((self._process.pid if self._process else 0, tuple(self._retired)))

    # --- watch ------------------------------------------------------------------------------------------------------
    async def _watch(self, process: Process) -> str:
        self._enter(ProgramState.STARTING)
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
                ready = await self._is_ready(process)
                heard = self._clock.monotonic()
                state = ProgramState.RUNNING if ready else ProgramState.STARTING
            except Transient:
                silent = self._clock.monotonic() - heard
                state = ProgramState.STARTING if self._state == ProgramState.STARTING else ProgramState.UNRESPONSIVE
                if self.hung_seconds is not None and silent >= self.hung_seconds:
                    log.error("%s %d has been silent for %.0f s: killing it", self.name, process.pid, silent)
                    process.signal(signal.SIGKILL)
                    self._killed_for = f"killed by the agent: silent for {self.hung_seconds:.0f} s"
            if not self._stopping:
                self._enter(state)
            await self._clock.sleep(POLL_RUNNING if state == ProgramState.RUNNING else POLL_STARTING)

    # --- end --------------------------------------------------------------------------------------------------------
    async def _terminate(self, process: Process) -> None:
        process.signal(signal.SIGTERM)
        waiting = asyncio.create_task(process.wait())
        timer = asyncio.create_task(self._clock.sleep(TERM_SECONDS))
        await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not waiting.done():
            log.warning("%s %d ignored SIGTERM for %.0f s: killing it", self.name, process.pid, TERM_SECONDS)
            process.signal(signal.SIGKILL)
        await waiting
        self._forget(process.pid)

    async def _clean_up(self) -> None:
        self._cgroup.kill_others()
        for file in (self._pid_file, self._dir / CGROUP_FILE):
            file.unlink(missing_ok=True)
        while not self._cgroup.remove():
            await self._clock.sleep(POLL_STARTING)

    def _let_go(self) -> None:
        """Leave everything running to whoever comes next."""
        retired, self._retired = self._retired, {}
        for process in (self._process, *retired.values()):
            if process is not None:
                process.abandon()

    # ----------------------------------------------------------------------------------------------------------------
    @property
    def _pid_file(self) -> Path:
        return self._dir / "pid"

    @property
    def _retired_dir(self) -> Path:
        return self._dir / "retired"

    def _enter(self, state: ProgramState) -> None:
        if state != self._state:
            self._state, self._since = state, self._clock.now()

    async def _pause(self, seconds: float) -> None:
        waking = asyncio.create_task(self._wake.wait())
        timer = asyncio.create_task(self._clock.sleep(seconds))
        await asyncio.wait({waking, timer}, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        timer.cancel()


def recorded_cgroup(directory: Path) -> Path | None:
    """The cgroup that a supervisor with this directory put its program in; None if it never did or ended it."""
    try:
        return Path(json.loads((directory / CGROUP_FILE).read_text())["cgroup"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
