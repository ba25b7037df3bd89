"""One connection to a relay's control socket: questions, answers and what comes unasked, with descriptors.

Messages are the structs of agent/relay/relay_abi.h, one per packet. Nothing here waits but for
the socket, and nothing waits longer than ANSWER_SECONDS.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidegate.errors import Transient
from tidegate.relay.abi import ffi, lib

ANSWER_SECONDS = 10.0  # a relay answers within milliseconds; one that does not is stopped or broken

_FDS_SPACE = socket.CMSG_SPACE(lib.FP_MESSAGE_FDS * array.array("i").itemsize)


class Answer:
    """The bytes of an answer, and its descriptors until somebody takes them."""

    def __init__(self, message: bytes, fds: list[int]) -> None:
        self.message = message
        self.fds = fds

    def as_struct(self, kind: str) -> Any:
        """A copy of the message as a struct; structs in it live as long as somebody holds it. Raises Transient if the
        message is shorter."""
        if len(self.message) < ffi.sizeof(kind):
            raise Transient("relay", f"answered {len(self.message)} bytes instead of {kind}")
        struct = ffi.new(f"{kind} *")
        ffi.memmove(struct, self.message, ffi.sizeof(kind))
        return struct

    def close(self) -> None:
        """Close the descriptors."""
        while self.fds:
            os.close(self.fds.pop())


class Channel:
    """Make one with connect()."""

    def __init__(self, sock: socket.socket, unasked: Callable[[bytes], None]) -> None:
        self._sock = sock
        self._unasked = unasked
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self.closed = asyncio.Event()
        asyncio.get_running_loop().add_reader(sock, self._readable)

    @classmethod
    def connect(cls, path: Path, unasked: Callable[[bytes], None]) -> Channel:
        """Never waits. unasked is called with each message that answers no question. Raises Transient."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            raise Transient(f"relay {path}", f"cannot be reached: {error.strerror or error}") from None
        return cls(sock, unasked)

    async def ask(self, kind: int, message: Any, fds: Sequence[int] = ()) -> Answer:
        """Send a struct that begins with fp_head, wait for its answer.

        :param fds: borrowed for the call
        :raises OSError: the relay's errno
        :raises Transient: the connection is gone, or no answer came in time (then it is closed: what was asked may
            still happen)
        """
        self._serial += 1
        serial = self._serial
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._send(kind, serial, message, fds)
                got = await answer
        except TimeoutError:
            self._waiting.pop(serial, None)
            self.close()
            raise Transient("relay", f"did not answer within {ANSWER_SECONDS:g} s") from None
        finally:
            self._waiting.pop(serial, None)
        result = got.as_struct("struct fp_head").result
        if result < 0:
            got.close()
            raise OSError(-result, os.strerror(-result))
        return got

    async def tell(self, kind: int, serial: int) -> None:
        """Send a bare head that is not answered. Raises Transient."""
        await self._send(kind, serial, ffi.new("struct fp_head *"), ())

    def close(self) -> None:
        """Whoever waits for an answer gets Transient."""
        if self.closed.is_set():
            return
        self.closed.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock)
        loop.remove_writer(self._sock)
        self._sock.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Transient("relay", "the connection to it has ended"))

    async def _send(self, kind: int, serial: int, message: Any, fds: Sequence[int]) -> None:
        head = ffi.cast("struct fp_head *", message)
        head.kind, head.serial = kind, serial
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while True:
            if self.closed.is_set():
                raise Transient("relay", "the connection to it has ended")
            try:
                self._sock.sendmsg([ffi.buffer(message)], rights, socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self.close()
                raise Transient("relay", f"the connection to it has ended: {error.strerror}") from None

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._sock, ready.set)
        try:
            await ready.wait()
        finally:
            if not self.closed.is_set():
                loop.remove_writer(self._sock)

    def _readable(self) -> None:
        while not self.closed.is_set():
            try:
                message, control, _, _ = self._sock.recvmsg(lib.FP_MESSAGE_MAX, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                message, control = b"", []
            answer = Answer(message, _descriptors(control))
            if len(message) < ffi.sizeof("struct fp_head"):
                answer.close()
                self.close()
                return
            self._received(answer)

    def _received(self, answer: Answer) -> None:
        head = answer.as_struct("struct fp_head")
        if head.kind == lib.FP_EVENTS:
            answer.close()
            self._unasked(answer.message)
            return
        waiting = self._waiting.get(head.serial)
        if waiting is None or waiting.done():
            answer.close()  # whoever asked has given up
            return
        waiting.set_result(answer)


def _descriptors(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            with contextlib.suppress(ValueError):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()
