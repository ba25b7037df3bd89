"""The cgroup that holds one program and nothing else: kernel programs tell its sockets by it, and we its processes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection
from pathlib import Path

from tidegate.errors import Fatal


class Cgroup:
    """A cgroup v2 directory of our own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make it if it is not there. Raises Fatal if that is not a place in a cgroup v2 tree."""
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise Fatal(
                f"cgroup {self.path}", f"cannot be created: {error.strerror}", "is cgroup v2 mounted?"
            ) from None
        if not (self.path / "cgroup.procs").exists():
            raise Fatal(f"cgroup {self.path}", "is not on a cgroup v2 file system")

    def pids(self) -> list[int]:
        """Processes in it now."""
        try:
            pids = [int(line) for line in (self.path / "cgroup.procs").read_text().split()]
        except FileNotFoundError:
            return []
        # The kernel writes 0 for a process outside our pid namespace; to kill(2), 0 means our own process group.
        return [pid for pid in pids if pid > 0]

    def kill_others(self, keep: Collection[int] = ()) -> list[int]:
        """SIGKILL every process in it but these; returns whom."""
        strays = [pid for pid in self.pids() if pid not in keep]
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return strays

    def bound_memory(self, most: int) -> str:
        """Let everything in it have that many bytes at most, sockets' included; "" or why that is not possible here.

        Above the bound the kernel reclaims, takes no more for sockets, and kills a process at last.
        """
        parent, file = self.path.parent, self.path / "memory.max"
        try:
            if not file.exists():
                if "memory" not in (parent / "cgroup.controllers").read_text().split():
                    return "this cgroup v2 hierarchy has no memory controller here"
                (parent / "cgroup.subtree_control").write_text("+memory")
            file.write_text(str(most))
        except OSError as error:
            return f"the memory controller cannot be used in {parent}: {error.strerror}"
        return ""

    def remove(self) -> bool:
        """Remove it; False while it still has processes (a killed one stays until it is reaped)."""
        try:
            self.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
        return True
