"""Urgent data (tcp(7), RFC 6093) goes through: each byte at its place, the urgent one as urgent."""

from __future__ import annotations

import asyncio
import fcntl
import socket
from collections.abc import AsyncIterator

import pytest
from tests.relay.conftest import Mesh, service, until
from tests.relay.pods import SERVER4
from tests.relay.test_relay import wait_writable
from tests.support.eventually import HANG_SECONDS

KIB = 1 << 10
SIOCATMARK = 0x8905
INLINE = (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


@pytest.fixture
async def listener(mesh: Mesh) -> AsyncIterator[socket.socket]:
    """Of the endpoint behind the service."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        yield listener


@pytest.fixture(params=["client", "server"])
async def ends(
    mesh: Mesh, listener: socket.socket, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Of one relayed connection: who speaks, and who listens. Once with the client first, once with the server."""
    client, server = await mesh.pair(listener)
    with client, server:
        yield (client, server) if request.param == "client" else (server, client)


def at_mark(sock: socket.socket) -> bool:
    """The next byte of this socket is the urgent one."""
    return any(fcntl.ioctl(sock, SIOCATMARK, bytes(4)))


async def read(sock: socket.socket, wanted: int) -> tuple[bytes, list[int]]:
    """So many bytes, and which of them were urgent; needs SO_OOBINLINE."""
    loop = asyncio.get_running_loop()
    got, urgent = b"", []
    while len(got) < wanted:
        await until(lambda: arrived(sock), "the next byte")  # before it has come, nobody can tell whether it is urgent
        if at_mark(sock):
            urgent.append(len(got))
            got += await asyncio.wait_for(loop.sock_recv(sock, 1), HANG_SECONDS)
        else:
            got += await asyncio.wait_for(loop.sock_recv(sock, wanted - len(got)), HANG_SECONDS)
    return got, urgent


def arrived(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def urgent_byte(sock: socket.socket) -> bytes:
    """The one that has arrived, wherever reading stands; nothing before it did. It is gone once reading passed it."""
    try:
        return sock.recv(1, socket.MSG_OOB)
    except OSError:
        return b""


def say(sock: socket.socket, *words: str) -> None:
    """A capital letter is sent as urgent."""
    for word in words:
        sock.send(word.encode(), socket.MSG_OOB if word.isupper() else 0)


@pytest.mark.case("B1")
async def test_an_urgent_byte_between_others_arrives_in_its_place(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    other.setsockopt(*INLINE)
    for _ in range(3):  # the stream goes on behind it, and the next urgent byte is one again
        say(one, "abc", "X", "defend")
        assert await read(other, 10) == (b"abcXdefend", [3])


@pytest.mark.case("B1")
async def test_a_reader_that_asks_for_urgent_data_gets_it_as_such(ends: tuple[socket.socket, socket.socket]) -> None:
    """Without SO_OOBINLINE, as an application has it that did not ask for anything else."""
    loop = asyncio.get_running_loop()
    one, other = ends
    say(one, "abc", "X", "defend")
    await until(lambda: urgent_byte(other) == b"X", "the urgent byte")
    got = b""
    while len(got) < 9:
        got += await asyncio.wait_for(loop.sock_recv(other, 64), HANG_SECONDS)
    assert got == b"abcdefend"


@pytest.mark.case("B1")
async def test_an_urgent_byte_first_and_last_of_all(ends: tuple[socket.socket, socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    one, other = ends
    other.setsockopt(*INLINE)
    say(one, "X")
    assert await read(other, 1) == (b"X", [0])
    say(one, "rest", "Y")
    one.shutdown(socket.SHUT_WR)
    assert await read(other, 5) == (b"restY", [4])
    assert await asyncio.wait_for(loop.sock_recv(other, 1), HANG_SECONDS) == b""


@pytest.mark.case("B1")
async def test_an_urgent_byte_that_came_before_the_endpoint_answered(mesh: Mesh, listener: socket.socket) -> None:
    client = await mesh.dial()
    with client:
        say(client, "a", "B", "c")
        server, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), HANG_SECONDS)
        with server:
            server.setsockopt(*INLINE)
            assert await read(server, 3) == (b"aBc", [1])


# 1 MiB for 2 workers and their carriers: one buffer of 256 KiB each, which the other pairs hold.
@pytest.mark.case("B1")
@pytest.mark.parametrize("mesh", [{}, {"pool_mib": 1, "buffer_bytes": 256 * KIB}], indirect=True, ids=["pool", "bound"])
async def test_urgent_bytes_behind_a_reader_that_stopped(mesh: Mesh, listener: socket.socket) -> None:
    """Kept in a buffer of the relay, or left in the sender's socket where there is none: the byte keeps its place."""
    pairs = [await mesh.pair(listener) for _ in range(6)]
    sent = []
    for client, server in pairs:
        server.setsockopt(*INLINE)
        total = 0
        while await wait_writable(client):
            total += client.send(b"x" * 65536)
        sent.append(total)
    for client, server in pairs:
        with client, server:
            sending = asyncio.ensure_future(send_late(client))
            total = sent.pop(0)
            got, urgent = await read(server, total + 7)
            await sending
            assert got[total:] == b"abcXend"
            assert urgent == [total + 3]


async def send_late(sock: socket.socket) -> None:
    """Behind what fills the connection, as soon as there is room."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"abc")
    await until(lambda: sock.send(b"X", socket.MSG_OOB), "room for the urgent byte")
    await loop.sock_sendall(sock, b"end")
