"""Envoy as a supervised program: its bootstrap, its admin interface, how it drains. At most one is in its cgroup."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

from tidegate.envoy.admin import EnvoyAdmin
from tidegate.envoy.bootstrap import bootstrap, heap_limit, memory_limit
from tidegate.errors import Fatal, Transient
from tidegate.linux.memory import memory_for
from tidegate.linux.process import AT_THE_EDGE, Process
from tidegate.runtime.clock import Clock
from tidegate.supervise.files import UNIX_PATH_MAX, write_private
from tidegate.supervise.supervisor import POLL_STARTING, Supervisor

log = logging.getLogger(__name__)


class EnvoySupervisor(Supervisor):
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
        super().__init__("envoy", run_dir / "envoy", cgroup, clock, jitter=jitter)
        self._binary = binary
        self._node_id = node_id
        self._xds_socket = xds_socket
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._admin = EnvoyAdmin(self.admin_socket)

    @property
    def admin_socket(self) -> Path:
        return self._dir / "admin.sock"

    @property
    def admin(self) -> EnvoyAdmin:
        return self._admin

    def _prepare(self) -> str:
        if not os.access(self._binary, os.X_OK):
            raise Fatal(f"Envoy {self._binary}", "is not an executable file", "run `make setup`")
        if len(str(self.admin_socket).encode()) > UNIX_PATH_MAX:
            raise Fatal(f"socket {self.admin_socket}", f"is longer than {UNIX_PATH_MAX} bytes", "shorten --run-dir")
        text = write_private(
            self._dir / "bootstrap.json",
            bootstrap(
                node_id=self._node_id,
                xds_socket=self._xds_socket,
                admin_socket=self.admin_socket,
                max_connections=connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
                max_heap=self._heap(),
            ),
        )
        image = self._image()
        return hashlib.sha256(repr((text, self.confined, self._argv(), image)).encode()).hexdigest()

    def _image(self) -> str:
        """Digest of what is in the binary: another container has the same one by another inode. It is 100 MB, so it is
        read once for each file."""
        status = self._binary.resolve().stat()
        file = [str(self._binary), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
        known = self._dir / "image.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(known.read_text())
            if found["file"] == file:
                return str(found["sha256"])
        with self._binary.open("rb") as binary:
            digest = hashlib.file_digest(binary, "sha256").hexdigest()
        write_private(known, {"file": file, "sha256": digest})
        return digest

    def _heap(self) -> int:
        return heap_limit(memory_for(self._cgroup.path.parent))  # its own group's bound follows from it

    def _memory_limit(self) -> int:
        return memory_limit(self._heap())

    def _argv(self) -> list[str]:
        return [
            *(str(self._binary), "-c", str(self._dir / "bootstrap.json")),
            *("--concurrency", str(self._concurrency)),
            *("--drain-time-s", str(self._drain_seconds), "--drain-strategy", "immediate"),
            *("--log-level", "warning"),
            # Several nodes of a lab share this machine's /dev/shm, and we restart instead of overlapping.
            "--disable-hot-restart",
        ]

    async def _is_ready(self, process: Process) -> bool:
        return await self._admin.ready()

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

    def _forget(self, pid: int) -> None:
        self.admin_socket.unlink(missing_ok=True)


class GatewayEnvoy(EnvoySupervisor):
    """The Envoy of a gateway: no pods to enter, but ports below 1024 to listen at."""

    confined = AT_THE_EDGE


def connection_limit(open_files: int) -> int:
    """Client connections that so many descriptors allow: each has an upstream one, and a reserve stays for the rest."""
    return max(64, (open_files - 512) // 2)
