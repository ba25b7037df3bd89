"""Bytes, FIN and RST go through as if the two ends were joined directly."""

from __future__ import annotations

import asyncio

from tests.fastpath.conftest import Mesh, service
from tests.fastpath.pods import CLIENT4, SERVER4

from tidegate.fastpath import CloseReason


async def test_one_connection_there_and_back(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            assert server.getpeername()[0] == CLIENT4
            await loop.sock_sendall(client, b"ping")
            assert await loop.sock_recv(server, 64) == b"ping"
            await loop.sock_sendall(server, b"pong!")
            assert await loop.sock_recv(client, 64) == b"pong!"
    [event] = await mesh.closed(CloseReason.OK)
    assert (event.bytes_to_server, event.bytes_to_client) == (4, 5)
