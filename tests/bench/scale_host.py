"""What the scale benchmark asks of the machine: cgroups, mounts, HTTP over a unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from tests.bench.processes import BenchError


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{directory}/")][::-1]


def cgroup2() -> Path:
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    raise BenchError("no cgroup2 is mounted")


def empty(cgroup: Path) -> None:
    """Kill what is in a cgroup of ours and remove it."""
    deadline = time.monotonic() + 60
    while cgroup.exists():
        for procs in cgroup.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                for pid in procs.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
        for path in sorted((p for p in cgroup.rglob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        if time.monotonic() > deadline:
            raise BenchError(f"{cgroup} does not become empty")
        time.sleep(0.02)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def get_json(path: Path, url: str) -> Any:
    connection = _Unix(path)
    try:
        connection.request("GET", url)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
