"""Ended connections that are alike reach Python as sums, and the namespaces that workers stay in."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.fastpath.conftest import Mesh, service, until
from tests.fastpath.pods import SERVER4

from tidegate.fastpath import CloseReason

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
    await until(lambda: mesh.engine.stats().closed[CloseReason.OK] == count, "connections ended")


@summed
async def test_connections_that_are_alike_are_told_as_sums(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        mesh.publish(service(listener.getsockname()))
        await ended_well(mesh, listener, 20)
    await until(lambda: sum(event.connections for event in mesh.ended) == 20, f"sums, {mesh.ended}")
    assert sum(event.bytes_to_server for event in mesh.ended) == 60
    assert sum(event.bytes_to_client for event in mesh.ended) == 100
    assert {event.reason for event in mesh.ended} == {CloseReason.OK}
    assert len(mesh.ended) < 20


@summed
async def test_the_engine_tells_its_sums_before_it_ends(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        mesh.publish(service(listener.getsockname()))
        pairs = [await mesh.pair(listener) for _ in range(7)]
        await mesh.stop()
        assert [(event.connections, event.reason) for event in mesh.ended] == [(7, CloseReason.SHUTDOWN)]
        for client, _ in pairs:
            client.close()


def namespaces_of_workers() -> set[int]:
    tasks = [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "tg-fastpath\n"]
    assert tasks
    return {os.stat(task / "ns/net").st_ino for task in tasks}


async def test_workers_leave_a_pod_that_is_removed(mesh: Mesh) -> None:
    inside = os.fstat(mesh.client.fd).st_ino
    with mesh.server.listen(SERVER4) as listener:
        mesh.publish(service(listener.getsockname()))
        await ended_well(mesh, listener, 1)
    assert inside in namespaces_of_workers()  # a worker stays where it opened its last socket
    mesh.engine.remove_pod(mesh.client.cookie)
    assert inside not in namespaces_of_workers()
