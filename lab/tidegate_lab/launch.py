"""Command lines that put a process into its cgroup and namespaces before it becomes the program asked for.

Everything is done by a chain of exec()s, so the pid that was started is the pid of the program, and signals, standard
streams and exit codes need no relay.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tidegate.errors import Fatal


@cache
def tool(name: str) -> str:
    """Absolute path of a system tool, so that a container's own PATH does not matter. Raises Fatal if missing."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise Fatal(f"program {name}", "is not installed", "run `make setup`")
    return found


def in_cgroup(cgroup: Path, argv: Sequence[str]) -> list[str]:
    """argv, run in the cgroup. Writing 0 to cgroup.procs moves the writer, here the shell that execs."""
    return [tool("sh"), "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(cgroup), *argv]


def in_netns(netns: Path, argv: Sequence[str]) -> list[str]:
    """argv, run in the network namespace bound at that path."""
    return [tool("nsenter"), f"--net={netns}", "--", *argv]


@dataclass(frozen=True, slots=True)
class PodEntry:
    """What is needed to start one more process in a running pod."""

    pause_pid: int  # holds the pod's mount, UTS and network namespaces
    cgroup: Path
    cwd: str

    def argv(self, command: Sequence[str], uid: int | None = None, gid: int | None = None) -> list[str]:
        """command, run in the pod. A relative program name with a slash is relative to the working directory."""
        identity = [] if uid is None else [f"--setuid={uid}", f"--setgid={uid if gid is None else gid}"]
        enter = [tool("nsenter"), f"--target={self.pause_pid}", "--mount", "--uts", "--net", f"--wdns={self.cwd}"]
        return in_cgroup(self.cgroup, [*enter, *identity, "--", *command])


# Bind mounts stay in the pod's mount namespace; slave propagation lets later mounts and umounts of the machine in
# (a network namespace that is removed outside must not live on through a copy of its mount in here).
_PAUSE = """
set -e
mount --bind "$1" /etc/resolv.conf
mount --bind "$2" /etc/hosts
echo "$3" > /proc/sys/kernel/hostname
echo ready
exec sleep infinity
"""


def pause(cgroup: Path, netns: Path, resolv_conf: Path, hosts: Path, hostname: str) -> list[str]:
    """The process that keeps a pod's namespaces alive; prints ``ready`` once they are complete."""
    unshare = [tool("unshare"), "--mount", "--uts", "--propagation", "slave"]
    shell = [tool("sh"), "-c", _PAUSE, "pause", str(resolv_conf), str(hosts), hostname]
    return in_cgroup(cgroup, in_netns(netns, [*unshare, *shell]))
