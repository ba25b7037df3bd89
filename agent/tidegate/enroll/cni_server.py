"""The agent's end of the CNI plugin's socket.

A call is answered when its handler returned, so the runtime starts no container before the pod is enrolled. Protocol
thinking is in enroll.wire, meaning in the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from tidegate.enroll import wire
from tidegate.enroll.wire import CniRequest, Command
from tidegate.errors import Fatal, Rejected, TidegateError

log = logging.getLogger(__name__)

RECEIVE_SECONDS = 5.0  # for the whole request; the plugin sends it in one go
_MAX_FDS = 4

__all__ = ["CniRequest", "CniServer", "Handler"]


class Handler(Protocol):
    """What the calls mean. Each returns when it is done and raises TidegateError when it cannot be."""

    async def add(self, request: CniRequest) -> None:
        """Returns when the pod is enrolled or is not to be. Duplicate the netns descriptor to keep it."""

    async def delete(self, request: CniRequest) -> None:
        """An unknown attachment is no error."""

    async def check(self, request: CniRequest) -> None:
        """Raises unless the attachment is as add() left it."""

    async def status(self, request: CniRequest) -> None:
        """Raises wire.NotServing while no add() can succeed."""

    async def collect(self, request: CniRequest) -> None:
        """Release what is attached to the request's network and is not among its valid attachments."""


class CniServer:
    """Listens on a unix socket of mode 0600 and hands each request to the handler."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen; a socket that a killed agent left is replaced. Raises Fatal."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.unlink(missing_ok=True)
            # bind() gives the file the mode of the socket's own inode, so at no moment could others connect.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(str(new))
            listening.listen(128)
            new.rename(self._path)
        except OSError as error:
            listening.close()
            raise Fatal(f"CNI socket {self._path}", str(error), "is the run directory writable?") from error
        self._socket = listening
        self._spawn(self._accept(listening))

    async def stop(self) -> None:
        """Stop listening and drop calls that are under way; their plugins report "try again"."""
        if self._socket is None:
            return
        self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()
        self._socket = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # out of descriptors: the queue holds the others meanwhile
                log.error("accepting a CNI call: %s", error)
                await asyncio.sleep(0.1)
                continue
            self._spawn(self._session(connection))

    async def _session(self, connection: socket.socket) -> None:
        fds: list[int] = []
        try:
            answer = await self._answer(connection, fds)
            with contextlib.suppress(OSError):  # the plugin ran out of patience
                await asyncio.get_running_loop().sock_sendall(connection, answer)
        finally:
            for fd in fds:
                os.close(fd)
            connection.close()

    async def _answer(self, connection: socket.socket, fds: list[int]) -> bytes:
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                line = await _receive(connection, fds)
            request = wire.parse(line, fds[0] if fds else -1)
            await self._perform(request)
        except TidegateError as error:
            log.warning("CNI call refused: %s", error)
            return wire.failure(error)
        except TimeoutError:
            return wire.failure(Rejected("CNI request", f"did not arrive within {RECEIVE_SECONDS:g} s"))
        except OSError as error:
            return wire.failure(Rejected("CNI request", str(error)))
        except Exception as error:
            log.exception("CNI call")
            return wire.failure(Rejected("tidegate agent", f"internal error: {error!r}", "see the agent's log"))
        return wire.success()

    async def _perform(self, request: CniRequest) -> None:
        if request.command in (Command.ADD, Command.CHECK) and request.netns_fd < 0:
            raise Rejected(f"pod {request.pod}", "came without its network namespace")
        if request.command is Command.ADD:
            await self._handler.add(request)
        elif request.command is Command.CHECK:
            await self._handler.check(request)
        elif request.command is Command.DEL:
            await self._handler.delete(request)
        elif request.command is Command.STATUS:
            await self._handler.status(request)
        elif request.command is Command.GC:
            await self._handler.collect(request)


async def _receive(connection: socket.socket, fds: list[int]) -> bytes:
    """One line, and into fds every descriptor that came with it. Raises Rejected when there is no such line."""
    data = bytearray()
    while True:
        await _readable(connection)
        try:
            part, received, _, _ = socket.recv_fds(connection, 1 << 16, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            continue
        fds += received
        data += part
        if b"\n" in part:
            return bytes(data[: data.index(b"\n")])
        if not part or len(data) > wire.MAX_BYTES:
            raise Rejected("CNI request", "is longer than 1 MiB" if part else "ended too early")


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
