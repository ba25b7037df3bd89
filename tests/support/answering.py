"""A server that costs little: answers each request with who it is, on one thread; standard library only.

`answering.py PORT`: HTTP/1.1 with kept connections; header x-version is the
environment's VERSION, the body the pod's name.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

BODY = socket.gethostname().encode()
HEAD = f"HTTP/1.1 200 OK\r\ncontent-length: {len(BODY)}\r\nx-version: {os.environ.get('VERSION', '')}\r\n\r\n"
ANSWER = HEAD.encode() + BODY
END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    def __init__(self) -> None:
        self.read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self.read = (self.read + data).split(END)
        self.transport.write(ANSWER * len(whole))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "0.0.0.0", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
