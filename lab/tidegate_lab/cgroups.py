"""cgroup v2 directories of nodes, pods and containers.

Kernel fact: a socket belongs to the cgroup in which it was created, so a process has to be in its cgroup before it
opens one. Hence processes are moved before exec (see lab.launch), never afterwards.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tidegate.errors import Fatal


def make(cgroup: Path) -> Path:
    """Create the cgroup (and its parents); an existing one is fine."""
    cgroup.mkdir(parents=True, exist_ok=True)
    return cgroup


def members(cgroup: Path) -> list[int]:
    """Pids in the cgroup and below it. A cgroup that is gone has none."""
    pids: list[int] = []
    for directory, _, _ in os.walk(cgroup):
        with contextlib.suppress(OSError):
            pids += [int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split()]
    return pids


def kill(cgroup: Path) -> None:
    """SIGKILL everything in the cgroup and below it, without waiting."""
    try:
        (cgroup / "cgroup.kill").write_text("1")
        return
    except FileNotFoundError:
        pass  # no such cgroup, or a kernel before 5.14
    except OSError:
        return
    for pid in members(cgroup):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def remove(cgroup: Path, timeout: float = 60.0) -> None:
    """Kill what is in the cgroup, then remove it and its children; blocks for at most timeout seconds.

    Raises Fatal when processes are still there at the deadline (uninterruptible sleep).
    """
    deadline = time.monotonic() + timeout
    while cgroup.exists():
        kill(cgroup)
        for directory, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):  # EBUSY while a killed process is still being reaped
                os.rmdir(directory)
        if not cgroup.exists():
            return
        if time.monotonic() > deadline:
            raise Fatal(f"cgroup {cgroup}", f"processes {members(cgroup)} do not die", "look at their kernel stacks")
        time.sleep(0.01)


def remove_if_empty(directory: Path) -> None:
    """Remove a directory that others may share."""
    with contextlib.suppress(OSError):
        directory.rmdir()
