"""DNS over TCP (RFC 7766): each message behind its length in two bytes. What is ours is answered here; the rest goes
over one connection to the pod's own resolver, which is made when it is needed first, and comes back as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

SESSIONS_MAX = 64  # connections of one pod at once
IDLE_SECONDS = 30.0  # without a question (RFC 7766 6.2.3 wants seconds)
_LENGTH = 2

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Conversation:
    """One connection of an application."""

    def __init__(
        self,
        client: Streams,
        answer: Callable[[bytes], bytes | None],
        dial: Callable[[], Awaitable[Streams]],
    ) -> None:
        """answer: what the registry says to a message. dial: connects to the resolver. Raises OSError."""
        self._reader, self._writer = client
        self._answer = answer
        self._dial = dial
        self._resolver: asyncio.StreamWriter | None = None
        self._returning: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until either side has had enough. Never raises."""
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await _message(self._reader)
                answer = self._answer(message)
                if answer is not None:
                    await _send(self._writer, answer)
                else:
                    await self._hand_on(message)
        except (OSError, EOFError, TimeoutError):
            pass  # as if the resolver, or the application, had closed
        finally:
            if self._returning is not None:
                self._returning.cancel()
                await asyncio.gather(self._returning, return_exceptions=True)
            for writer in (self._writer, self._resolver):
                if writer is not None:
                    writer.close()

    async def _hand_on(self, message: bytes) -> None:
        if self._resolver is None:
            reader, self._resolver = await self._dial()
            self._returning = asyncio.create_task(self._return(reader))
        await _send(self._resolver, message)

    async def _return(self, resolver: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                await _send(self._writer, await _message(resolver))
        self._writer.close()  # the reader of run() ends with it


async def _message(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(_LENGTH)))


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(_LENGTH) + message)
    await writer.drain()
