"""`door.py FD HOST PORT`: carries connections of a listening socket (descriptor FD) to HOST:PORT.

The socket was opened where clients are, and this runs where HOST is: a socket stays in the network namespace that it
was made in. So the API server in the cluster's own network is reached from the machine's loopback, and nothing else is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end; a half that was closed is closed on the other side, too."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def serve(listening: socket.socket, host: str, port: int) -> None:
    """Accept for ever."""

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            to_server, from_here = await asyncio.open_connection(host, port)
            await asyncio.gather(carry(reader, from_here), carry(to_server, writer))
            from_here.close()
        writer.close()

    server = await asyncio.start_server(visit, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
