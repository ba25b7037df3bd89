"""Clients and servers that are gone are noticed, whatever the other side does; those who are there are left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.relay.conftest import VIP4, VIP6, Mesh, expect_reset, service, until, until_told
from tests.relay.pods import SERVER4, SERVER6
from tests.relay.test_relay import wait_writable
from tests.support.eventually import HANG_SECONDS

from tidegate.relay.events import CloseReason


def keepalive(sock: socket.socket) -> tuple[int, int]:
    level = socket.IPPROTO_TCP
    return sock.getsockopt(level, socket.TCP_KEEPIDLE), sock.getsockopt(level, socket.TCP_KEEPINTVL)


@pytest.mark.case("B7")
@pytest.mark.parametrize(("vip", "address"), [(VIP4, SERVER4), (VIP6, SERVER6)], ids=["v4", "v6"])
async def test_clients_that_closed_leave_nothing_though_the_server_never_closes(
    mesh: Mesh, vip: str, address: str
) -> None:
    with mesh.server.listen(address) as listener:
        await mesh.publish(service(listener.getsockname()[:2], vip=vip))
        before = mesh.relay.descriptors()
        pairs = [await mesh.pair(listener, vip=vip) for _ in range(300)]
        for client, _ in pairs:
            client.close()
        await mesh.closed(CloseReason.CLIENT_GONE, 300)
        assert (await mesh.relay.stats()).active == 0
        # one may stay: by which it asks
        assert mesh.relay.descriptors() <= before + 2
        for _, server in pairs:
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(server, 1), HANG_SECONDS) == b""
            with server:
                server.send(b"anybody?")
                await expect_reset(server)  # as without the mesh


@pytest.mark.case("B7")
async def test_a_client_that_has_only_finished_sending_gets_its_answer_however_late(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        other, late = await mesh.pair(listener)
        with client, server, late:
            await loop.sock_sendall(client, b"question")
            client.shutdown(socket.SHUT_WR)
            other.close()  # later than the first one finished, so that one was asked about when this one is gone
            await mesh.closed(CloseReason.CLIENT_GONE)
            await loop.sock_sendall(server, b"answer")
            server.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(loop.sock_recv(client, 64), HANG_SECONDS) == b"answer"
            await mesh.closed(CloseReason.OK)


@pytest.mark.case("B7")
@pytest.mark.parametrize("mesh", [{"workers": 1}], indirect=True)
async def test_who_is_gone_is_asked_in_the_pod_that_came_after_another(mesh: Mesh) -> None:
    """A pod's descriptor often has the number of the one that was removed before, whose namespace does not know it."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        first, _ = await mesh.pair(listener)
        first.close()
        await mesh.closed(CloseReason.CLIENT_GONE)  # the namespace of the first pod was asked
        await mesh.relay.remove_sandbox(mesh.client.cookie)
        ports = await mesh.relay.add_sandbox(mesh.server.cookie, mesh.server.fd, v6=True)
        second = Mesh(mesh.server, mesh.server, mesh.flows, mesh.relay, ports)
        client, server = await second.pair(listener)
        other, _ = await second.pair(listener)
        with client, server:
            client.shutdown(socket.SHUT_WR)
            other.close()  # so that the first one was asked about when this one is gone
            await mesh.closed(CloseReason.CLIENT_GONE, 2)
            await loop.sock_sendall(server, b"answer")
            assert await asyncio.wait_for(loop.sock_recv(client, 64), HANG_SECONDS) == b"answer"
        second.close_sockets()


@pytest.mark.case("B7")
@pytest.mark.parametrize("mesh", [{"workers": 1}], indirect=True)
async def test_a_pod_that_was_asked_is_left_when_it_goes(mesh: Mesh) -> None:
    """A descriptor in a namespace keeps it, its addresses and its routes on the node, until somebody else is asked."""
    before = mesh.relay.descriptors()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, _ = await mesh.pair(listener)
        client.close()
        await mesh.closed(CloseReason.CLIENT_GONE)
        await mesh.relay.remove_sandbox(mesh.client.cookie)
        await mesh.relay.add_sandbox(mesh.client.cookie, mesh.client.fd, v6=True)
        assert mesh.relay.descriptors() == before


@pytest.mark.case("B7")
async def test_a_client_whose_process_was_killed(mesh: Mesh) -> None:
    """Its socket lives on with another process that has it: then it is not gone."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with server:
            with held_by_a_child(client):
                client.shutdown(socket.SHUT_WR)
                client.close()
                probe, _ = await mesh.pair(listener)
                probe.close()
                await mesh.closed(CloseReason.CLIENT_GONE)  # that of the other one, which closed later
                assert (await mesh.relay.stats()).active == 1
            await mesh.closed(CloseReason.CLIENT_GONE, 2)


@contextmanager
def held_by_a_child(sock: socket.socket) -> Iterator[None]:
    """A process that has this socket too, until the end of the block, where it is killed."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ours.close()


@pytest.mark.case("B7")
@pytest.mark.parametrize("mesh", [{"report": 1}], indirect=True)
async def test_what_a_dead_client_left_unsent_still_arrives(mesh: Mesh) -> None:
    """A server that is slow gets all of it, as from a kernel that sends on behind a closed socket."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with server:
            sent = 0
            while await wait_writable(client):
                sent += client.send(b"x" * 65536)
            client.close()
            got = 0
            while data := await asyncio.wait_for(loop.sock_recv(server, 1 << 20), HANG_SECONDS):
                got += len(data)
            assert got == sent
            await mesh.closed(CloseReason.CLIENT_GONE)


@pytest.mark.case("B7")
async def test_a_server_that_has_finished_is_probed(mesh: Mesh) -> None:
    """Its machine may be gone by the time that the client closes, if ever: the kernel asks every 15 seconds."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            await until(lambda: probed(mesh, server) == "", "no probe before")
            server.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), HANG_SECONDS) == b""
            await until(lambda: probed(mesh, server), "a timer of some seconds")
            assert (await mesh.relay.stats()).active == 1


def probed(mesh: Mesh, server: socket.socket) -> str:
    """The relay's socket towards the server has a keepalive timer (2 in its column of the table) of less than 20 s."""
    port = f":{server.getpeername()[1]:04X}"
    for line in mesh.client.run(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]:
        fields = line.split()
        kind, _, ticks = fields[5].partition(":")
        if fields[1].endswith(port) and kind == "02" and int(ticks, 16) < 20 * os.sysconf("SC_CLK_TCK"):
            return line
    return ""


async def test_no_client_is_asked_about_before_it_has_finished(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        before = mesh.relay.descriptors()
        client, server = await mesh.pair(listener)
        with client, server:
            await until_told(lambda: _active(mesh), "the connection")
            assert mesh.relay.descriptors() == before + 2


async def _active(mesh: Mesh) -> bool:
    return (await mesh.relay.stats()).active == 1
