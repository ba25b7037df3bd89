"""A client of a steady pace: requests and new connections at fixed rates until its input ends; standard library only.

`steadily.py STREAM...` with STREAM = NAME,ADDRESS,PORT,HOST,KIND,RATE[,CA]: KIND is `kept` (eight connections that are
kept) or `fresh` (each request on a connection of its own); with CA (a file) it is TLS, and HOST the name asked for.
Prints `started` when each stream has had an answer, and at the end one JSON object by NAME: answers, failures, the
first of them, versions, for TLS how many certificates were seen; and the seconds that it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

GUARD_SECONDS = 120  # against hanging, and nothing else
KEPT = 8
AT_ONCE = 64  # fresh connections under way
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Stream:
    name: str
    address: str
    port: int
    host: str
    kind: str
    rate: float
    ca: str = ""
    answers: int = 0
    failed: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    certificates: set[bytes] = field(default_factory=set)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.request = f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        self.context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        self.room = asyncio.Semaphore(AT_ONCE)

    async def connect(self) -> Ends:
        name = {"ssl": self.context, "server_hostname": self.host} if self.context else {}
        made = await asyncio.wait_for(asyncio.open_connection(self.address, self.port, **name), GUARD_SECONDS)  # type: ignore[arg-type]
        if tls := made[1].get_extra_info("ssl_object"):
            self.certificates.add(tls.getpeercert(binary_form=True))
        return made

    async def ask(self, ends: Ends) -> bool:
        """Whether the connection may be used again. Raises OSError unless there is a whole answer of status 200."""
        reader, writer = ends
        writer.write(self.request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), GUARD_SECONDS)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await asyncio.wait_for(reader.readexactly(int(fields[b"content-length"])), GUARD_SECONDS)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OSError(head.partition(b"\r\n")[0].decode())
        self.answers += 1
        self.versions[fields.get(b"x-version", b"").decode()] += 1
        self.first.set()
        return fields.get(b"connection") != b"close"

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, TimeoutError, KeyError, ValueError) as error:
            self.failed.append(f"{self.name} {self.answers + len(self.failed)}: {error!r}")

    async def keep(self, told: asyncio.Event, rate: float) -> None:
        """One connection that is kept, and made anew when its other end says that it goes."""
        ends: Ends | None = None
        async for _ in paced(told, rate):
            with self.noted():
                ends, now = None, ends or await self.connect()
                if await self.ask(now):
                    ends = now
                else:
                    now[1].close()
        if ends:
            ends[1].close()

    async def once(self) -> None:
        async with self.room:
            with self.noted():
                ends = await self.connect()
                try:
                    await self.ask(ends)
                finally:
                    ends[1].close()

    async def run(self, told: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self.kind == "kept":
                for _ in range(KEPT):
                    tasks.create_task(self.keep(told, self.rate / KEPT))
            else:
                async for _ in paced(told, self.rate):
                    tasks.create_task(self.once())

    def told(self) -> dict[str, object]:
        return {
            "answers": self.answers,
            "failed": len(self.failed),
            "failures": self.failed[:10],
            "versions": self.versions,
            "certificates": len(self.certificates),
        }


async def paced(told: asyncio.Event, rate: float):  # type: ignore[no-untyped-def]
    """Again and again until told; who is late goes on at once."""
    begun, number = time.monotonic(), 0
    while not told.is_set():
        yield number
        number += 1
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))


def stream_of(text: str) -> Stream:
    name, address, port, host, kind, rate, ca = (text + ",").split(",")[:7]
    return Stream(name, address, int(port), host, kind, float(rate), ca)


async def main() -> None:
    streams = [stream_of(text) for text in sys.argv[1:]]
    begun, told = time.monotonic(), asyncio.Event()
    running = [asyncio.create_task(stream.run(told)) for stream in streams]
    for stream in streams:
        await stream.first.wait()
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    told.set()
    await asyncio.gather(*running)
    found = {stream.name: stream.told() for stream in streams}
    json.dump({**found, "seconds": time.monotonic() - begun}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
