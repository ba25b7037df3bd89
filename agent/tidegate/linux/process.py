"""A process that outlives us: started into a cgroup, known again by pid and start time, watched through a pidfd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Transient

# The shell enters the cgroup before exec, because a socket belongs to the cgroup in which it was created; code of ours
# between fork and exec would run in a copy of a process with other threads, where any lock may be held for ever.
# Of the agent's capabilities one goes on: CAP_SYS_ADMIN, without which setns() into a pod's netns fails. With
# no_new_privs no exec in there gains another, whatever it executes.
CONFINED = (
    *("setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"),
    "--bounding-set=-all,+sys_admin",
)
# A gateway's Envoy is in no other namespace than its own, and listens at ports like 80 and 443.
AT_THE_EDGE = (*CONFINED[:-1], "--bounding-set=-all,+net_bind_service")
# Only a parent learns an exit status, and the parent was an agent that is no more.
UNSEEN = "not known (an earlier agent had started it); the kernel's log and its own log may tell"
_ENTER_AND_EXEC = 'echo 0 > "$1" && ulimit -n "$(ulimit -Hn)" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Which process: a pid alone may be somebody else's by now."""

    pid: int
    start_ticks: int  # since boot, from /proc/PID/stat field 22
    digest: str  # of what it was launched with


def start_ticks(pid: int, *, of_zombie: bool = False) -> int:
    """When the process started, in clock ticks since boot.

    Raises ProcessLookupError if there is none, or only a zombie unless of_zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None
    # Field 2 is the command in parentheses and may contain anything; fields 3 (state) and 22 count from 1.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX" and not of_zombie:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[22 - 3])


def read_identity(path: Path) -> ProcessIdentity | None:
    """What an earlier agent wrote, or None if it is missing or damaged."""
    try:
        raw = json.loads(path.read_text())
        return ProcessIdentity(int(raw["pid"]), int(raw["start_ticks"]), str(raw["digest"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Process:
    """A running process behind a pidfd; wait() works for children and for strangers."""

    def __init__(self, identity: ProcessIdentity, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.identity = identity
        self.adopted = child is None
        self._pidfd = pidfd
        self._child = child
        self._exit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # A pidfd becomes readable when its process is a zombie or gone.
        asyncio.get_running_loop().add_reader(pidfd, self._ended)

    @classmethod
    def launch(
        cls, argv: Sequence[str], *, cgroup: Path, log: Path, digest: str, through: Sequence[str] = ()
    ) -> Process:
        """Start argv in its own session and cgroup, through a command that execs it. Raises Transient if it cannot."""
        shell = ["/bin/sh", "-c", _ENTER_AND_EXEC, "sh", str(cgroup / "cgroup.procs"), *through, *argv]
        try:
            with log.open("ab") as out:
                child = subprocess.Popen(
                    shell, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, close_fds=True
                )
        except OSError as error:
            raise Transient(f"process {argv[0]}", f"cannot be started: {error}") from None
        pidfd = os.pidfd_open(child.pid)
        # It may have ended already; as our child it then waits as a zombie, and wait() tells how it ended.
        return cls(ProcessIdentity(child.pid, start_ticks(child.pid, of_zombie=True), digest), pidfd, child)

    @classmethod
    def adopt(cls, identity: ProcessIdentity) -> Process | None:
        """Take over a process that somebody else started; None if it is gone or its pid belongs to another one."""
        try:
            pidfd = os.pidfd_open(identity.pid)
        except OSError:
            return None
        # Checked after the pidfd is open: from here on the pid cannot change hands unnoticed.
        with contextlib.suppress(ProcessLookupError):
            if start_ticks(identity.pid) == identity.start_ticks:
                return cls(identity, pidfd, None)
        os.close(pidfd)
        return None

    @property
    def pid(self) -> int:
        return self.identity.pid

    async def wait(self) -> str:
        """Until it ended; says how: "exit code 1", "signal SIGKILL", or UNSEEN for a process that was not our child."""
        return await asyncio.shield(self._exit)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it already ended."""
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def abandon(self) -> None:
        """Stop watching and leave it running."""
        if not self._exit.done():
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._exit.set_result("abandoned")
            if self._child is not None:
                self._child.returncode = 0  # else its destructor complains that it still runs

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        how = UNSEEN if self._child is None else describe_exit(self._child.wait())
        self._exit.set_result(how)


def describe_exit(code: int) -> str:
    """A Popen return code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
