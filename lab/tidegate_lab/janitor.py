"""Removes everything that a lab of a given name has or may have left, without any record but names.

It needs no labd, so it also cleans up after one that was killed. Processes go first (they hold namespaces and sockets),
files last (as long as the run directory is there, `lab down` knows that there was a lab).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tidegate.errors import Fatal
from tidegate.linux.netns import NetnsNames
from tidegate_lab import cgroups, netns
from tidegate_lab.launch import tool
from tidegate_lab.paths import BPFFS_ROOT, RUN_ROOT, LabPaths


def exists(paths: LabPaths) -> bool:
    """Is there anything of this lab?"""
    return paths.run.exists() or paths.cgroup.exists() or bool(netns.names(paths.netns_prefix))


def labd_pid(paths: LabPaths) -> int | None:
    """Pid of the lab's living labd; a recycled pid is recognised by its command line."""
    try:
        pid = int(paths.pid.read_text())
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"tidegate_lab.daemon" in argv and paths.name.encode() in argv else None


def clean(paths: LabPaths) -> None:
    """Remove it all. Safe to repeat, and when there is nothing. Raises Fatal naming what would not go."""
    if (pid := labd_pid(paths)) is not None:
        _end(pid)
    cgroups.remove(paths.cgroup)
    cgroups.remove_if_empty(paths.cgroup.parent)
    # Links and maps are objects without pins once their files are gone; the kernel frees them.
    for directory in BPFFS_ROOT.glob(f"{paths.name}-*"):
        shutil.rmtree(directory)
    cgroups.remove_if_empty(BPFFS_ROOT)
    for name in netns.names(paths.netns_prefix):
        done = subprocess.run([tool("ip"), "netns", "delete", name], check=False, capture_output=True, text=True)
        if done.returncode:
            raise Fatal(f"network namespace {name}", done.stderr.strip(), "who has it mounted?")
    for directory in paths.node_run("any").parent.glob("*/netns"):
        NetnsNames(directory).remove()
    shutil.rmtree(paths.run, ignore_errors=True)
    if paths.run.exists():
        raise Fatal(str(paths.run), "cannot be removed", "is something mounted or writing there?")
    cgroups.remove_if_empty(RUN_ROOT)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/ns/net").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
