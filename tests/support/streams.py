"""HTTP server and client that test pods run, for what lasts longer than a request and its answer.

Server: `streams.py serve PORT`. /ws echoes WebSocket messages, /upload answers length and SHA-256 of the body, /events
sends `count` events, each after a request to /seen has confirmed the one before.
Client: `streams.py websocket|upload|events|idle URL [SIZE, SECONDS or COUNT]` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, WSMsgType, web

GUARD_SECONDS = 120  # against hanging, and nothing else
BLOCK = bytes(range(256)) * 256


async def websocket(request: web.Request) -> web.WebSocketResponse:
    out = web.WebSocketResponse(max_msg_size=0)
    await out.prepare(request)
    async for message in out:
        if message.type is WSMsgType.BINARY:
            await out.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await out.send_str(message.data)
    return out


async def upload(request: web.Request) -> web.Response:
    digest, length = hashlib.sha256(), 0
    async for block in request.content.iter_any():
        digest.update(block)
        length += len(block)
    framing = request.headers.get("Transfer-Encoding") or request.headers.get("Content-Length", "")
    return web.json_response({"bytes": length, "sha256": digest.hexdigest(), "framing": framing, **_peer(request)})


def _peer(request: web.Request) -> dict[str, int]:
    assert request.transport is not None
    return {"client_port": request.transport.get_extra_info("peername")[1]}


confirmed: dict[str, asyncio.Semaphore] = {}  # by the key of an /events request


async def events(request: web.Request) -> web.StreamResponse:
    out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    seen = confirmed[request.query["key"]] = asyncio.Semaphore(0)
    await out.prepare(request)
    for number in range(int(request.query["count"])):
        await out.write(f"data: {number}\n\n".encode())
        await seen.acquire()
    return out


async def confirm(request: web.Request) -> web.Response:
    confirmed[request.query["key"]].release()
    return web.Response()


async def _blocks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, len(BLOCK)):
        yield BLOCK[: size - start]


async def talk(session: ClientSession, url: str, size: float) -> dict[str, Any]:
    """Messages of 0 bytes, 1 byte and size bytes come back; then silence of a second, then one more."""
    async with session.ws_connect(url, max_msg_size=0) as ws:
        sizes = []
        for length in (0, 1, int(size)):
            await ws.send_bytes(BLOCK[:1] * length)
            sizes.append(len(await ws.receive_bytes(timeout=GUARD_SECONDS)))
        await asyncio.sleep(1.0)
        await ws.send_str("still there?")
        return {"sizes": sizes, "said": await ws.receive_str(timeout=GUARD_SECONDS)}


async def send(session: ClientSession, url: str, size: float) -> dict[str, Any]:
    """A body without Content-Length; what the server saw and what was sent."""
    digest = hashlib.sha256()
    async for block in _blocks(int(size)):
        digest.update(block)
    async with session.post(url, data=_blocks(int(size))) as response:
        return {"status": response.status, "server": await response.json(), "sha256": digest.hexdigest()}


async def listen(session: ClientSession, url: str, count: float) -> dict[str, Any]:
    """The events that came, each confirmed at once."""
    came = []
    key = str(os.getpid())
    async with session.get(f"{url}/events", params={"count": int(count), "key": key}) as response:
        async for line in response.content:
            if line.startswith(b"data:"):
                came.append(line[5:].strip().decode())
                async with session.post(f"{url}/seen", params={"key": key}):
                    pass
        return {"status": response.status, "events": came}


async def idle(session: ClientSession, url: str, seconds: float) -> dict[str, Any]:
    """Two requests on one connection with a pause in between; the local port of each."""
    ports = []
    for pause in (seconds, 0):
        async with session.post(url, data=b"x") as response:
            ports.append((await response.json())["client_port"])
        await asyncio.sleep(pause)
    return {"ports": ports}


async def client(do: str, url: str, size: float) -> None:
    actions = {"websocket": talk, "upload": send, "events": listen, "idle": idle}
    async with ClientSession(
        timeout=ClientTimeout(total=300), connector=TCPConnector(keepalive_timeout=3600)
    ) as session:
        json.dump(await actions[do](session, url, size), sys.stdout)


def serve(port: int) -> None:
    app = web.Application(client_max_size=0)
    app.add_routes(
        [web.get("/ws", websocket), web.post("/upload", upload), web.get("/events", events), web.post("/seen", confirm)]
    )
    web.run_app(app, host=["0.0.0.0", "::"], port=port, print=None, keepalive_timeout=3600, access_log=None)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        asyncio.run(client(sys.argv[1], sys.argv[2], float((sys.argv[3:] or ["0"])[0])))
