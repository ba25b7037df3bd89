"""The agent's side of the node's DNS: keeps the process running, tells it names and pods, and that the agent is there.

The process ends with its agent, so there is never one to adopt; each new one knows nothing, which `process` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tidegate.bpf.resolvers import STALE_SECONDS
from tidegate.dns import protocol
from tidegate.dns.counts import QuestionCounts
from tidegate.errors import Fatal, Transient
from tidegate.linux.process import CONFINED, Process
from tidegate.model.names import cluster_domain
from tidegate.model.plan.names import HostNames
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker
from tidegate.supervise.files import UNIX_PATH_MAX
from tidegate.supervise.supervisor import Supervisor

log = logging.getLogger(__name__)

BEAT_SECONDS = STALE_SECONDS / 4
# One that says nothing for longer is as good as gone. Nobody waits for it meanwhile: without a beat the kernel leaves
# questions to the pods' resolvers within a second, and a node with too much to do is not helped by another start.
ANSWER_SECONDS = 30.0
SOCKET = "control.sock"


class NodeDnsProcess(Supervisor):
    """The node's DNS. run_dir gets a directory dns/ with pid file, logs and a socket."""

    def __init__(
        self,
        run_dir: Path,
        maps: Path,
        cgroup: Path,
        clock: Clock | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """maps: where the kernel's tables are pinned."""
        super().__init__("dns", run_dir / "dns", cgroup, clock, jitter=jitter)
        self._maps = maps
        self._path = run_dir / "dns" / SOCKET
        self._thread = Worker("dns")
        self._listener: socket.socket | None = None
        self._peer: socket.socket | None = None
        self._peer_pid = 0
        self._parting: asyncio.Future[None] | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self.counts: Mapping[str, int] = asdict(QuestionCounts())  # as the process said last
        self.process: Latest[int] = Latest(0)  # 0 while none can be reached, else rises with each process

    def listen(self) -> None:
        """To be done before it is started. Raises OSError."""
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(1)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener

    async def serve(self) -> None:
        """Take the process's connection, and beat. Until cancelled, with which the process ends. After listen()."""
        listener, loop = self._listener, asyncio.get_running_loop()
        assert listener is not None
        beating = asyncio.create_task(self._beat())
        try:
            for number in itertools.count(1):
                peer, _ = await loop.sock_accept(listener)
                await self._meet(peer, number)
        finally:
            beating.cancel()
            listener.close()
            await self._part()

    async def put_names(self, put: Sequence[HostNames], gone: Iterable[str], *, whole: bool) -> None:
        """Change the names, or say all of them. Raises OSError or Transient; then nobody knows what it has."""
        left = list(gone)
        for start in range(0, max(len(put), 1), protocol.HOSTS_AT_ONCE):
            part = [protocol.encode_names(host) for host in put[start : start + protocol.HOSTS_AT_ONCE]]
            await self._ask(protocol.NAMES, put=part, gone=left, whole=whole and start == 0)
            left = []

    async def add_pod(self, cookie: int, namespace: str, netns_fd: int, v6: bool, port: int) -> None:
        """Answer the questions of a pod from now on. port: the one in it that is ours, 0 = any. Raises OSError or
        Transient if it cannot."""
        await self._ask(protocol.POD, netns_fd, cookie=cookie, namespace=namespace, v6=v6, port=port)

    async def drop_pod(self, cookie: int) -> None:
        """No more of a pod, whose slots are free; none is fine. Raises OSError or Transient."""
        await self._ask(protocol.DROP, cookie=cookie)

    async def keep_pods(self, cookies: Iterable[int]) -> None:
        """Free the slots of all other pods. Raises OSError or Transient."""
        await self._ask(protocol.KEEP, cookies=sorted(cookies))

    # --- as a program -------------------------------------------------------------------------------------------
    def _prepare(self) -> str:
        if len(str(self._path).encode()) > UNIX_PATH_MAX:
            raise Fatal(f"socket {self._path}", f"is longer than {UNIX_PATH_MAX} bytes", "shorten --run-dir")
        return hashlib.sha256(repr((self._argv(), CONFINED)).encode()).hexdigest()

    def _argv(self) -> Sequence[str]:
        return [sys.executable, "-P", "-m", "tidegate.dns", str(self._path), str(self._maps), cluster_domain()]

    async def _is_ready(self, process: Process) -> bool:
        return self._peer_pid == process.pid

    async def _drain(self, process: Process, seconds: float) -> None:
        """There is nothing to finish: the kernel leaves questions to the pods' resolvers."""

    def _forget(self, pid: int) -> None:
        """It leaves nothing."""

    # --- the connection -----------------------------------------------------------------------------------------
    async def _meet(self, peer: socket.socket, number: int) -> None:
        await self._part()
        peer.settimeout(ANSWER_SECONDS)  # of the thread that writes; reading waits for nothing
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self._peer, self._peer_pid = peer, int.from_bytes(credentials[:4], sys.byteorder)
        asyncio.get_running_loop().add_reader(peer, self._readable, peer, protocol.Incoming())
        await self.process.set(number)

    async def _part(self) -> None:
        peer, self._peer, self._peer_pid = self._peer, None, 0
        if peer is not None:
            asyncio.get_running_loop().remove_reader(peer)
            peer.close()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(Transient("the node's DNS", "has ended"))
        self._asked.clear()
        if self.process.value:
            await self.process.set(0)

    def _readable(self, peer: socket.socket, incoming: protocol.Incoming) -> None:
        try:
            for said in incoming.read(peer):
                self.counts = said["counts"]
                waiting = self._asked.pop(said["n"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said["error"])
        except (OSError, EOFError, ValueError) as error:
            if not isinstance(error, EOFError):
                log.warning("the node's DNS: %s", error)
            asyncio.get_running_loop().remove_reader(peer)
            if peer is self._peer:
                self._parting = asyncio.ensure_future(self._part())

    async def _ask(self, what: str, fd: int | None = None, **more: Any) -> None:
        peer = self._peer
        if peer is None:
            raise Transient("the node's DNS", "is not there")
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        content = protocol.frame({"n": number, "do": what, **more})
        try:
            await self._thread.do(_send, peer, content, fd)
            async with asyncio.timeout(ANSWER_SECONDS):
                error = await answered
        except TimeoutError:
            if peer is self._peer:
                await self._part()  # it ends when it notices, and the next one is told everything
            raise Transient("the node's DNS", f"says nothing for {ANSWER_SECONDS:.0f} s") from None
        finally:
            self._asked.pop(number, None)
        if error:
            raise Transient("the node's DNS", error)

    async def _beat(self) -> None:
        while True:
            if self._peer is not None:
                with contextlib.suppress(OSError, Transient):
                    await self._ask(protocol.BEAT)
            await self._clock.sleep(BEAT_SECONDS)


def _send(peer: socket.socket, content: bytes, fd: int | None) -> None:
    """All of it, the descriptor with its first byte. Blocks, for a time. Raises OSError."""
    sent = 0
    if fd is not None:
        sent = socket.send_fds(peer, [content], [fd])
    peer.sendall(content[sent:])
