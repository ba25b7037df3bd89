"""Port forwards from this machine's loopback to Services and dashboards of the lab, so that a browser can see them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidegate.errors import Rejected, TidegateError
from tidegate.model.names import ServiceName
from tidegate.settings import ADMIN_PORT
from tidegate_lab.node import LabNode

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_BLOCK = 1 << 16


Dial = Callable[[], Awaitable[socket.socket]]


@dataclass(frozen=True, slots=True)
class Forward:
    target: str
    local: int  # port on HOST


class Forwards:
    """Listens in labd's own namespace and connects from a node; endpoints(service, port) is asked per connection."""

    def __init__(self, node: LabNode, endpoints: Callable[[ServiceName, int], list[tuple[str, int]]]) -> None:
        self._node = node
        self._endpoints = endpoints
        self._open: dict[Forward, asyncio.Server] = {}
        self._turn = itertools.count()

    async def expose(self, service: ServiceName, port: int, local: int) -> Forward:
        """Forward HOST:local (0: the one it has, or any) to the service. Raises TidegateError."""
        self._endpoints(service, port)
        return await self._forward(f"{service}:{port}", self._dial(service, port), local)

    async def serve(self, service: ServiceName, port: int, address: str) -> asyncio.Server:
        """Forward address:port to the service until the server is closed. Raises OSError if it is taken."""
        return await _listen(f"{service}:{port}", self._dial(service, port), address, port)

    def _dial(self, service: ServiceName, port: int) -> Dial:
        async def dial() -> socket.socket:
            choices = self._endpoints(service, port)
            address, target = choices[next(self._turn) % len(choices)]
            return await self._node.inside.connect(address, target)

        return dial

    async def dashboard(self, node: LabNode, local: int) -> Forward:
        """Forward HOST:local (0: the one it has, or any) to the admin port of a node's agent. Raises Rejected."""
        return await self._forward(
            f"dashboard of {node.name}", lambda: node.inside.connect("127.0.0.1", ADMIN_PORT), local
        )

    async def _forward(self, target: str, dial: Dial, local: int) -> Forward:
        for known in self._open:
            if known.target == target and local in (0, known.local):
                return known
        try:
            server = await _listen(target, dial, HOST, local)
        except OSError as error:
            raise Rejected(f"port {HOST}:{local}", error.strerror or str(error), "choose another with --port") from None
        forward = Forward(target, server.sockets[0].getsockname()[1])
        self._open[forward] = server
        return forward

    def close(self) -> None:
        for server in self._open.values():
            server.close()


async def _listen(target: str, dial: Dial, host: str, port: int) -> asyncio.Server:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _session(target, dial, reader, writer)

    return await asyncio.start_server(session, host, port)


async def _session(target: str, dial: Dial, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(sock=await dial())
    except (TidegateError, OSError) as error:
        log.warning("forward to %s: %s", target, error)
        writer.close()
        return
    pumps = [asyncio.create_task(_pump(reader, far_writer)), asyncio.create_task(_pump(far_reader, writer))]
    try:
        # A reset of one side ends both: the other direction may have nothing to say and would wait for ever.
        await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        writer.close()
        far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way; the end of one stream becomes the end of the other. Raises OSError when either is reset."""
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
