"""Client of a pod that holds many connections and makes new ones all the time; standard library only.

`held.py ADDRESS PORT HOST --held N --rate R`: opens N connections and keeps them, makes R new ones a second, and plays
a round trip every 20 ms on one more. A round trip is an HTTP GET, also where the mesh knows only TCP. Goes on until its
standard input ends, then makes one more round trip on each of the N. Tells on standard error what happens: `held N`,
then `opened K` for each tenth new connection. Prints one JSON object: held, right (round trips at the end), opened,
pings, and failed: what went wrong, each with what it was about.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import sys
from dataclasses import dataclass, field

GUARD_SECONDS = 120  # against hanging, and nothing else
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Client:
    address: str
    port: int
    host: str
    opened: int = 0
    pings: int = 0
    failed: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self) -> Ends:
        return await asyncio.wait_for(asyncio.open_connection(self.address, self.port), GUARD_SECONDS)

    async def round_trip(self, ends: Ends) -> None:
        """Raises OSError if the connection does not give a whole answer."""
        reader, writer = ends
        writer.write(f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), GUARD_SECONDS)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await asyncio.wait_for(reader.readexactly(int(fields[b"content-length"])), GUARD_SECONDS)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OSError(head.partition(b"\r\n")[0].decode())

    @contextlib.contextmanager
    def noted(self, what: str):  # type: ignore[no-untyped-def]
        try:
            yield
        except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, KeyError) as error:
            self.failed.append(f"{what}: {error!r}")

    async def new(self, number: int) -> None:
        with self.noted(f"new connection {number}"):
            ends = await self.connect()
            try:
                await self.round_trip(ends)
            finally:
                ends[1].close()
            self.opened += 1
            if self.opened % 10 == 0:
                say(f"opened {self.opened}")

    async def make(self, rate: float) -> None:
        """New connections, each by itself: one that hangs does not hold up the next."""
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        running: set[asyncio.Task[None]] = set()
        while not self.told.is_set():
            number += 1
            task = asyncio.create_task(self.new(number))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
        await asyncio.gather(*running)

    async def play(self) -> None:
        with self.noted("ping-pong"):
            ends = await self.connect()
            while not self.told.is_set():
                await self.round_trip(ends)
                self.pings += 1
                await asyncio.sleep(0.02)
            ends[1].close()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("host")
    parser.add_argument("--held", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = Client(options.address, options.port, options.host)
    held: list[Ends] = []
    for number in range(options.held):
        with client.noted(f"held connection {number}"):
            held.append(await client.connect())
            await client.round_trip(held[-1])
    say(f"held {len(held)}")
    busy = asyncio.gather(client.make(options.rate), client.play())
    await asyncio.to_thread(sys.stdin.read)
    client.told.set()
    await busy
    right = 0
    for number, ends in enumerate(held):
        with client.noted(f"held connection {number} at the end"):
            await client.round_trip(ends)
            right += 1
    found = {"held": len(held), "right": right, "opened": client.opened, "pings": client.pings}
    json.dump({**found, "failed": client.failed[:20]}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
