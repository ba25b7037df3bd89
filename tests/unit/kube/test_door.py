"""The way from the machine's loopback into the cluster's network: bytes and ends of both directions."""

from __future__ import annotations

import asyncio
import socket

from tests.kube import door


async def test_both_directions_and_their_ends_are_carried() -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"seen " + await reader.read())  # to the end of what the client says
        writer.close()

    inside = await asyncio.start_server(server, "127.0.0.1", 0)
    port = inside.sockets[0].getsockname()[1]
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(door.serve(listening, "127.0.0.1", port))
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
    writer.write(b"words")
    writer.write_eof()
    assert await reader.read() == b"seen words"
    writer.close()
    await writer.wait_closed()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    inside.close()
    await inside.wait_closed()


async def test_a_server_that_is_away_ends_the_connection() -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))  # and does not listen, so it refuses
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(door.serve(listening, "127.0.0.1", silent.getsockname()[1]))
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    silent.close()
