"""Port forwards from this machine's loopback to Services of the lab, so that a browser can see them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.errors import Rejected, TidegateError
from tidegate.lab.node import Node
from tidegate.model.names import ServiceName

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Forward:
    service: ServiceName
    port: int
    local: int  # port on HOST


class Forwards:
    """Listens in labd's own namespace and connects from a node; endpoints(service, port) is asked per connection."""

    def __init__(self, node: Node, endpoints: Callable[[ServiceName, int], list[tuple[str, int]]]) -> None:
        self._node = node
        self._endpoints = endpoints
        self._open: dict[Forward, asyncio.Server] = {}
        self._turn = itertools.count()

    async def expose(self, service: ServiceName, port: int, local: int) -> Forward:
        """Forward HOST:local (0: the one it has, or any) to the service. Raises TidegateError."""
        self._endpoints(service, port)
        for known in self._open:
            if (known.service, known.port) == (service, port) and local in (0, known.local):
                return known

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._session(service, port, reader, writer)

        try:
            server = await asyncio.start_server(session, HOST, local)
        except OSError as error:
            raise Rejected(f"port {HOST}:{local}", error.strerror or str(error), "choose another with --port") from None
        forward = Forward(service, port, server.sockets[0].getsockname()[1])
        self._open[forward] = server
        return forward

    def close(self) -> None:
        for server in self._open.values():
            server.close()

    async def _session(
        self, service: ServiceName, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            choices = self._endpoints(service, port)
            address, target = choices[next(self._turn) % len(choices)]
            sock = await self._node.inside.connect(address, target)
            far_reader, far_writer = await asyncio.open_connection(sock=sock)
        except (TidegateError, OSError) as error:
            log.warning("forward to %s:%d: %s", service, port, error)
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way; the end of one stream becomes the end of the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
