"""The way of an agent in a network namespace to an API server on this machine's loopback, with the bytes counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from functools import partial
from typing import Self

from tidegate.linux.netns import in_netns

CHUNK = 1 << 18


class CountingDoor:
    """Use as a context manager. It listens on 127.0.0.1 of the namespace, at the port that the server has here."""

    def __init__(self, netns: str, port: int) -> None:
        """netns: name below /run/netns."""
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door")
        self.received = 0  # bytes from the server since the beginning
        self.open = 0  # connections now
        inside = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A socket stays in the namespace that it was made in; whoever accepts may be elsewhere.
            self._listening = in_netns(inside, partial(socket.create_server, ("127.0.0.1", port)))
        finally:
            os.close(inside)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._visit, sock=self._listening)

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with contextlib.suppress(OSError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await asyncio.gather(self._carry(reader, to_server, 0), self._carry(from_server, writer, 1))
                finally:
                    to_server.close()
        finally:
            self.open -= 1
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: int) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                self.received += counted * len(data)
                writer.write(data)
                await writer.drain()
            writer.write_eof()
