"""The node's DNS in one pod: what comes in is answered from the registry's names or handed on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial

from tidegate.bpf.resolvers import PORT, SLOTS, ResolverTables
from tidegate.dns.answers import Answers
from tidegate.dns.counts import QuestionCounts
from tidegate.dns.handing import Handing
from tidegate.dns.room import Room
from tidegate.dns.sockets import PodSockets, Sender, connected, open_here, towards
from tidegate.dns.streams import SESSIONS_MAX, Conversation, Streams
from tidegate.model.capture import slot_of
from tidegate.model.net import IPAddress, parse_ip

_OF_SESSION = 2  # descriptors: to the application, and to the resolver
BURST = 16  # datagrams of one pod before others have their turn


class PodDns:
    """One pod. Use from one event loop, in a process with one thread: it enters the pod's netns."""

    def __init__(
        self,
        cookie: int,
        namespace: str,
        netns_fd: int,
        answers: Answers,
        tables: ResolverTables,
        enter: Callable[[int], None],
        counts: QuestionCounts,
        room: Room,
    ) -> None:
        """Owns netns_fd. enter: makes a netns that of new sockets. room: of all pods."""
        self.namespace = namespace
        self._cookie = cookie
        self._netns_fd = netns_fd
        self._answers = answers
        self._tables = tables
        self._enter = enter
        self._loop = asyncio.get_running_loop()
        self._counts = counts
        self._handing = Handing(self._connected, self._loop, counts, room)
        self._room = room
        self._sockets = PodSockets()
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()
        self._resolvers: dict[IPAddress, IPAddress] = {}  # by the address that stands for it; never changes

    async def open(self, *, v6: bool, port: int) -> None:
        """Take the pod's questions from now on. port: the one in it that is ours. Raises OSError."""
        self._enter(self._netns_fd)
        self._sockets = open_here(v6=v6, port=port)
        for sock in self._sockets.udp.values():
            self._loop.add_reader(sock, self._readable, sock)
        for sock in self._sockets.tcp.values():
            self._servers.append(await asyncio.start_server(self._accepted, sock=sock))
        self._sockets.offer(self._tables, self._cookie)

    def sweep(self) -> None:
        """Give up what nobody answers."""
        self._handing.sweep()

    async def close(self) -> None:
        """Take no more; what is under way is given up."""
        for sock in self._sockets.udp.values():
            self._loop.remove_reader(sock)
        for server in self._servers:
            server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        self._handing.close()
        self._sockets.close()
        os.close(self._netns_fd)

    # --- UDP ----------------------------------------------------------------------------------------------------
    def _readable(self, sock: socket.socket) -> None:
        for _ in range(BURST):
            try:
                message, at, client = PodSockets.receive(sock)
            except BlockingIOError:
                return
            except OSError:
                continue  # about one datagram
            answer = self._answers.of(message, self.namespace, udp=True)
            back = partial(self._reply, sock, at, client)
            if answer is not None:
                self._counts.registry += 1
                back(answer)
            elif (resolver := self._resolver(at)) is not None:
                self._handing.ask(message, resolver, back)

    def _reply(self, sock: socket.socket, source: IPAddress, client: Sender, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it asks again
            PodSockets.reply(sock, message, source, client)

    def _resolver(self, at: IPAddress) -> IPAddress | None:
        """Whom an address of the pod's loopback stands for; None for one that no hook gave out."""
        if at not in self._resolvers:
            slot = slot_of(at, SLOTS)
            found = None if slot is None else self._tables.resolver(self._cookie, slot, at.version == 6)
            if found is None:
                return None
            self._resolvers[at] = found
        return self._resolvers[at]

    def _connected(self, resolver: IPAddress) -> socket.socket:
        self._enter(self._netns_fd)
        return connected(resolver)

    # --- TCP ----------------------------------------------------------------------------------------------------
    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = parse_ip(writer.get_extra_info("sockname")[0])
        resolver = self._resolver(at)
        task = asyncio.current_task()
        mine = len(self._sessions)
        room = mine < SESSIONS_MAX and self._room.fits(_OF_SESSION * mine, _OF_SESSION)
        if resolver is None or task is None or not room:
            self._counts.lost += 1
            writer.transport.abort()
            return
        self._sessions.add(task)
        self._room.take(_OF_SESSION)
        try:
            await Conversation((reader, writer), self._answer, partial(self._dial, resolver)).run()
        finally:
            self._sessions.discard(task)
            self._room.give(_OF_SESSION)

    def _answer(self, message: bytes) -> bytes | None:
        answer = self._answers.of(message, self.namespace, udp=False)
        if answer is None:
            self._counts.handed_on += 1
        else:
            self._counts.registry += 1
        return answer

    async def _dial(self, resolver: IPAddress) -> Streams:
        self._enter(self._netns_fd)
        with towards(resolver, socket.SOCK_STREAM) as sock:
            await self._loop.sock_connect(sock, (str(resolver), PORT))
            return await asyncio.open_connection(sock=sock)
