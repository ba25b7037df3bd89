"""Bytes, and FIN, that arrived before the endpoint answered: no event will follow them, so nothing may wait for one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.relay.conftest import Mesh, service, until
from tests.relay.pods import SERVER4
from tests.relay.test_routes import FIRST, servers_of, to
from tests.support.eventually import HANG_SECONDS
from tests.support.hello import client_hello

KIB = 1 << 10
SEGMENTS_IN = slice(140, 144)  # tcpi_segs_in of struct tcp_info (linux/tcp.h)


@asynccontextmanager
async def late_endpoint(mesh: Mesh, early: bytes, *, fin: bool) -> AsyncIterator[socket.socket]:
    """The endpoint's end of a connection whose client had sent everything, and FIN, while the endpoint did not answer.

    A queue for one connection that is full makes the kernel drop SYNs; it takes the next one, a second later.
    """
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4, backlog=0) as listener, mesh.server.socket() as filler:
        await loop.sock_connect(filler, listener.getsockname())
        await mesh.publish(service(listener.getsockname()))
        with await mesh.dial() as client:
            await mesh.counts(lambda stats: stats.active == 1, "it to be accepted, without a byte")
            client.setblocking(True)
            client.sendall(early)
            client.setblocking(False)
            if fin:
                client.shutdown(socket.SHUT_WR)
            await until(lambda: not unacknowledged(client), "the engine's socket has it all")
            (await loop.sock_accept(listener))[0].close()
            server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
            with server:
                yield server


def segments(sock: socket.socket) -> int:
    """Those that it has received."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int.from_bytes(info[SEGMENTS_IN], "little")


def unacknowledged(sock: socket.socket) -> int:
    """Segments on their way: tcpi_unacked of struct tcp_info."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[24:28], "little")


# Sixteen reads are a connection's turn: 48 KiB are three turns.
@pytest.mark.parametrize("mesh", [{"buffer_bytes": KIB}], indirect=True)
async def test_a_connection_that_used_up_its_turn_goes_on(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    early = bytes(range(256)) * 4 * 48
    async with late_endpoint(mesh, early, fin=False) as server:
        got = b""
        while len(got) < len(early):
            got += await asyncio.wait_for(loop.sock_recv(server, len(early)), HANG_SECONDS)
        assert got == early


async def test_last_bytes_and_fin_come_in_one_segment(mesh: Mesh) -> None:
    """One wake-up of the receiver instead of two."""
    loop = asyncio.get_running_loop()
    async with late_endpoint(mesh, b"last words", fin=True) as server:
        assert await asyncio.wait_for(loop.sock_recv(server, 64), HANG_SECONDS) == b"last words"
        assert await asyncio.wait_for(loop.sock_recv(server, 64), HANG_SECONDS) == b""
        assert segments(server) == 3, "SYN, ACK, and this"


async def test_first_bytes_come_with_the_end_of_the_handshake(mesh: Mesh) -> None:
    """The server wakes once. Where a name is waited for, the bytes are always there by then."""
    loop = asyncio.get_running_loop()
    hello = client_hello()
    with servers_of(mesh) as servers:
        await servers.publish(to(FIRST, names=("*",)))
        client = await mesh.dial()
        await loop.sock_sendall(client, hello)
        _, server = await servers.accepted()
        with client, server:
            assert server.recv(len(hello), socket.MSG_DONTWAIT) == hello, "who accepts it may read it"
            assert segments(server) == 2, "SYN, and this"
