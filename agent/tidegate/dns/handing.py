"""Questions over UDP that are handed on to a pod's own resolver, and its answers back: bytes as they are.

Each question leaves from a socket of its own inside the pod's netns, so the resolver sees the pod, and nobody else is
heard. Bounded per pod: who asks more than that loses its oldest questions, as a network loses them; nobody else's wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.dns import wire
from tidegate.dns.counts import QuestionCounts
from tidegate.dns.room import Room
from tidegate.dns.sockets import BYTES_MAX
from tidegate.model.net import IPAddress

UNDER_WAY_MAX = 256  # questions of one pod
PATIENCE_SECONDS = 15.0  # longer than any stub resolver waits for an answer (resolv.conf(5), timeout)
_ID = 2  # bytes

Back = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class _UnderWay:
    question: bytes
    back: Back
    deadline: float


class Handing:
    """The questions of one pod that are under way. Use from one event loop."""

    def __init__(
        self,
        connected: Callable[[IPAddress], socket.socket],
        loop: asyncio.AbstractEventLoop,
        counts: QuestionCounts,
        room: Room,
    ) -> None:
        """connected: makes a socket of the pod's for one resolver. room: of all pods."""
        self._connected = connected
        self._loop = loop
        self._under_way: dict[socket.socket, _UnderWay] = {}  # the oldest first
        self._counts = counts
        self._room = room

    def __len__(self) -> int:
        return len(self._under_way)

    def ask(self, question: bytes, resolver: IPAddress, back: Back) -> None:
        """Hand a question on; back gets the answer, or a failure if the resolver cannot be reached. Never raises."""
        self._counts.handed_on += 1
        mine = len(self._under_way)
        if mine >= UNDER_WAY_MAX or not self._room.fits(mine):
            if not mine:
                self._fail(question, back)
                return
            self._end(next(iter(self._under_way)))
            self._counts.lost += 1
        try:
            sock = self._connected(resolver)
        except OSError:
            self._fail(question, back)
            return
        try:
            sock.send(question)
        except OSError:
            sock.close()
            self._fail(question, back)
            return
        self._room.take()
        self._under_way[sock] = _UnderWay(question, back, self._loop.time() + PATIENCE_SECONDS)
        self._loop.add_reader(sock, self._answered, sock)

    def sweep(self) -> None:
        """Give up what nobody answers."""
        now = self._loop.time()
        while self._under_way:
            sock, oldest = next(iter(self._under_way.items()))
            if oldest.deadline > now:
                return
            self._end(sock)
            self._counts.lost += 1

    def close(self) -> None:
        for sock in tuple(self._under_way):
            self._end(sock)

    def _answered(self, sock: socket.socket) -> None:
        asked = self._under_way[sock]
        try:
            answer = sock.recv(BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error: nobody is there
            self._end(sock)
            self._fail(asked.question, asked.back)
            return
        if answer[:_ID] == asked.question[:_ID]:
            self._end(sock)
            asked.back(answer)

    def _fail(self, question: bytes, back: Back) -> None:
        self._counts.failed += 1
        if (failure := wire.failure(question)) is not None:
            back(failure)

    def _end(self, sock: socket.socket) -> None:
        del self._under_way[sock]
        self._room.give()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(sock)
        sock.close()
