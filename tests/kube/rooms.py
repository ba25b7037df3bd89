"""Where the cluster's programs run: a cgroup for each, in namespaces that somebody else holds.

A program is found again by its cgroup and its name, not by a number that was written down: whoever has the name of a
cluster can stop, restart or remove it, also when the process that started it has ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.cgroup import members
from tests.support.ended import kill
from tests.support.eventually import eventually

# What a program of a node or of the control plane gets of the environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
_INTO = ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"']


class Room:
    """Programs of one machine of the cluster.

    group: their cgroups' parent; enter: what goes before their command lines; logs: folder for what they say.
    """

    def __init__(self, group: Path, logs: Path, enter: Sequence[str] = ()) -> None:
        self.group, self.logs, self.enter = group, logs, list(enter)
        self._children: list[subprocess.Popen[bytes]] = []

    def command(self, *argv: str | Path, name: str = "visitors") -> list[str]:
        """A command line that runs argv in here, in the cgroup of this name."""
        group = self.group / name
        group.mkdir(parents=True, exist_ok=True)
        return [*_INTO, str(group), *self.enter, *map(str, argv)]

    def start(
        self, name: str, *argv: str | Path, extra: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> None:
        """Start a program that goes on; returns when it is seen under its name.

        extra: variables besides ENVIRONMENT; fds: descriptors that it inherits.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as out:
            child = subprocess.Popen(
                self.command(*argv, name=name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**ENVIRONMENT, **(extra or {})},
                start_new_session=True,
                pass_fds=fds,
            )
        self._children.append(child)
        eventually(lambda: self._seen(name, child), f"{name} is started")

    def run(self, *argv: str | Path, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end. check: AssertionError with what it said if it fails."""
        command = self.command(*argv)
        done = subprocess.run(command, input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(map(str, argv))}: {done.returncode}\n{done.stderr}"
        return done

    def log(self, name: str) -> Path:
        """What a program has said, of all its lives."""
        return self.logs / f"{name}.log"

    def pid(self, name: str, called: str = "") -> int | None:
        """The program of this name, as this process numbers it; its children and what waits for it are others.

        called: what it is called in its command line, if not as its cgroup.
        """
        return next((pid for pid in members(self.group / name) if (called or name) in _called(pid)), None)

    def stop(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a program; what it has started lives on. A softer signal is waited for, too."""
        pid = self.pid(name)
        if pid is None:
            return
        if number == signal.SIGKILL:
            kill(pid)
        else:
            os.kill(pid, number)
        eventually(lambda: self.pid(name) is None, f"{name} ends by {number.name}, see {self.log(name)}")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal and wait for nothing (SIGSTOP, SIGCONT)."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run, see {self.log(name)}"
        os.kill(pid, number)

    def forget(self) -> None:
        """Collect what this process has started and somebody has ended."""
        for child in self._children:
            child.wait()
        self._children.clear()

    def _seen(self, name: str, child: subprocess.Popen[bytes]) -> bool:
        if child.poll() is not None:
            raise RuntimeError(f"{name} ended at once with {child.returncode}: {tail(self.log(name))}")
        return self.pid(name) is not None


def tail(log: Path, characters: int = 3000) -> str:
    """The end of a log, for errors."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else "(no log)"


def hold(group: Path, *argv: str, fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start what holds namespaces, in a cgroup that becomes the root for those inside; it says `ready` when it is.

    fds: descriptors that it inherits. Raises RuntimeError with what it said instead.
    """
    group.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(
        [*_INTO, str(group), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        start_new_session=True,
        pass_fds=fds,
    )
    assert child.stdout is not None
    said = b""
    with child.stdout:
        while (line := child.stdout.readline()) != b"ready\n":
            said += line
            if not line:
                raise RuntimeError(f"{group.name} cannot be made: {said.decode(errors='replace')}")
    return child


def _called(pid: int) -> set[str]:
    """Names by which a process can be meant: its program's, or its script's, which may stand behind a flag."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return set()
    return {Path(os.fsdecode(word)).name.removesuffix(".py") for word in words[:3] if word}


def empty(group: Path) -> None:
    """End everything below a cgroup and remove it; nothing if it is not there."""
    if not group.exists():
        return
    (group / "cgroup.kill").write_text("1")
    eventually(lambda: _removed(group), f"the processes of {group} are gone")


def _removed(group: Path) -> bool:
    for path in sorted(group.rglob("*/"), key=lambda found: len(found.parts), reverse=True):
        if path.is_dir():
            try:
                path.rmdir()
            except OSError:
                return False
    try:
        group.rmdir()
    except OSError:
        return False
    return True
