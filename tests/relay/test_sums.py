"""Ended connections that are alike reach Python as sums, and the namespaces that workers stay in."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.relay.conftest import Mesh, service, until
from tests.relay.pods import SERVER4
from tests.relay.traffic import receive_stream

from tidegate.relay.events import CloseReason

summed = pytest.mark.parametrize("mesh", [{"each_event": False, "workers": 1}], indirect=True)


async def ended_well(mesh: Mesh, listener: socket.socket, count: int) -> None:
    """So many connections, each with 3 bytes to the server and 5 back."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        client, server = await mesh.pair(listener)
        await loop.sock_sendall(client, b"abc")
        assert await loop.sock_recv(server, 10) == b"abc"
        await loop.sock_sendall(server, b"defgh")
        server.close()
        received = b""
        while block := await loop.sock_recv(client, 10):
            received += block
        assert received == b"defgh"
        client.close()
    await mesh.counts(lambda stats: stats.closed[CloseReason.OK] == count, "connections ended")


@summed
async def test_connections_that_are_alike_are_told_as_sums(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        await ended_well(mesh, listener, 20)
    await until(lambda: sum(event.connections for event in mesh.ended) == 20, f"sums, {mesh.ended}")
    assert sum(event.bytes_to_server for event in mesh.ended) == 60
    assert sum(event.bytes_to_client for event in mesh.ended) == 100
    assert {event.reason for event in mesh.ended} == {CloseReason.OK}
    assert len(mesh.ended) < 20


@pytest.mark.parametrize(
    "mesh", [{"each_event": each, "report": 0.1} for each in (False, True)], indirect=True, ids=["summed", "each"]
)
async def test_a_connection_that_lives_is_told_about(mesh: Mesh) -> None:
    """Once that it opened, each byte once, and nothing while nothing moves."""
    loop = asyncio.get_running_loop()

    def told() -> tuple[int, int, int]:
        return (
            sum(event.opened for event in mesh.ended),
            sum(event.bytes_to_server for event in mesh.ended),
            sum(event.connections for event in mesh.ended),
        )

    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            await loop.sock_sendall(client, b"abc")
            await until(lambda: told() == (1, 3, 0), "the first report")
            await loop.sock_sendall(client, b"defg")
            await until(lambda: told() == (1, 7, 0), "the second report")
            silent = len(mesh.ended)
            other = await mesh.pair(listener)
            await until(lambda: told() == (2, 7, 0), "a report of another connection")
            assert len(mesh.ended) == silent + 1
            await loop.sock_sendall(client, b"h")
            client.shutdown(socket.SHUT_WR)
            assert (await receive_stream(server))[0] == 8
        for end in other:
            end.close()
    await until(lambda: told() == (2, 8, 2), f"the ends, {mesh.ended}")


def told(mesh: Mesh) -> tuple[int, int]:
    """Bytes to the server and to the client, of all reports."""
    return sum(event.bytes_to_server for event in mesh.ended), sum(event.bytes_to_client for event in mesh.ended)


@pytest.mark.parametrize("mesh", [{"each_event": True, "report": 0.1}], indirect=True)
async def test_the_last_event_of_a_connection_knows_what_was_told_before(mesh: Mesh) -> None:
    """For its line in the access log."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            await loop.sock_sendall(client, b"abc")
            await loop.sock_sendall(server, b"defgh")
            await until(lambda: told(mesh) == (3, 5), "reports")
            await loop.sock_sendall(client, b"i")
            client.shutdown(socket.SHUT_WR)
            assert (await receive_stream(server))[0] == 4
            assert await loop.sock_recv(client, 10) == b"defgh"
    await until(lambda: mesh.ended[-1].connections, "its end")
    last = mesh.ended[-1]
    assert (last.opened, last.connections) == (0, 1)
    # The last byte may have been told by a report of its own.
    assert (last.earlier_to_server, last.bytes_to_server) in ((3, 1), (4, 0))
    assert (last.earlier_to_client, last.bytes_to_client) == (5, 0)


@summed
async def test_the_engine_tells_its_sums_before_it_ends(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        pairs = [await mesh.pair(listener) for _ in range(7)]
        await mesh.stop()
        assert [(event.connections, event.reason) for event in mesh.ended] == [(7, CloseReason.SHUTDOWN)]
        for client, _ in pairs:
            client.close()


def namespaces_of_workers(pid: int) -> set[int]:
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text() == "tg-fastpath\n"]
    assert tasks
    return {os.stat(task / "ns/net").st_ino for task in tasks}


async def test_workers_leave_a_pod_that_is_removed(mesh: Mesh) -> None:
    inside = os.fstat(mesh.client.fd).st_ino
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        await ended_well(mesh, listener, 1)
    assert inside in namespaces_of_workers(mesh.relay.pid)  # a worker stays where it opened its last socket
    await mesh.relay.remove_sandbox(mesh.client.cookie)
    assert inside not in namespaces_of_workers(mesh.relay.pid)
