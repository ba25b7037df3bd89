"""The relay as a supervised program. One that runs with other settings drains beside the one that takes its place."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

from tidegate.errors import Fatal, Transient
from tidegate.linux.process import CONFINED, Process
from tidegate.relay.connection import RelayConfig, RelayConnection, RelayState
from tidegate.runtime.clock import Clock
from tidegate.supervise.files import UNIX_PATH_MAX
from tidegate.supervise.supervisor import Supervisor

log = logging.getLogger(__name__)

LONGEST_SOCKET = "4194304.sock"  # the greatest pid (proc(5), pid_max)


class RelaySupervisor(Supervisor):
    """The relay of this node. run_dir gets a directory relay/ with pid files, logs, and a socket for each process."""

    hung_seconds = None  # its workers relay on while the thread that answers does not
    overlaps = True

    def __init__(
        self,
        binary: Path,
        run_dir: Path,
        cgroup: Path,
        config: RelayConfig,
        clock: Clock | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__("relay", run_dir / "relay", cgroup, clock, jitter=jitter)
        self.config = config
        self._binary = binary

    def socket(self, pid: int) -> Path:
        """Where a process of ours listens."""
        return self._dir / f"{pid}.sock"

    def _prepare(self) -> str:
        if not os.access(self._binary, os.X_OK):
            raise Fatal(f"relay {self._binary}", "is not an executable file", "run `make setup`")
        if len(str(self._dir / LONGEST_SOCKET).encode()) > UNIX_PATH_MAX:
            raise Fatal(f"sockets in {self._dir}", f"are longer than {UNIX_PATH_MAX} bytes", "shorten --run-dir")
        # By what is in it, not by its inode: a package that is installed anew with the same relay replaces nothing.
        image = hashlib.sha256(self._binary.read_bytes()).hexdigest()
        return hashlib.sha256(repr((image, CONFINED, self.config)).encode()).hexdigest()

    def _argv(self) -> list[str]:
        return [str(self._binary), str(self._dir)]

    async def _is_ready(self, process: Process) -> bool:
        connection = await RelayConnection.open(self.socket(process.pid), lambda *_: None)
        connection.close()
        return connection.state is not RelayState.NEW

    async def _drain(self, process: Process, seconds: float) -> None:
        try:
            connection = await RelayConnection.open(self.socket(process.pid), lambda *_: None)
            try:
                await connection.drain(seconds)
            finally:
                connection.close()
        except (OSError, Transient) as error:
            log.warning("relay %d cannot drain: %s", process.pid, error)
            return
        waiting = asyncio.create_task(process.wait())
        timer = asyncio.create_task(self._clock.sleep(seconds))
        await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        timer.cancel()

    def _forget(self, pid: int) -> None:
        self.socket(pid).unlink(missing_ok=True)
