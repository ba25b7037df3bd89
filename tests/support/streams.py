"""HTTP server and client that test pods run, for what lasts longer than a request and its answer.

Server: `streams.py serve PORT`. /ws echoes WebSocket messages, /upload answers length and SHA-256 of the body, /events
sends the time every `every` seconds, `count` times.
Client: `streams.py websocket|upload|events|idle|early URL [SIZE or SECONDS]` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, WSMsgType, web

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


async def events(request: web.Request) -> web.StreamResponse:
    out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await out.prepare(request)
    for _ in range(int(request.query["count"])):
        await asyncio.sleep(float(request.query["every"]))
        await out.write(f"data: {time.monotonic()}\n\n".encode())
    return out


async def _blocks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, len(BLOCK)):
        yield BLOCK[: size - start]


async def talk(session: ClientSession, url: str, size: float) -> dict[str, Any]:
    """Messages of 0 bytes, 1 byte and size bytes come back; then silence of a second, then one more."""
    async with session.ws_connect(url, max_msg_size=0) as ws:
        sizes = []
        for length in (0, 1, int(size)):
            await ws.send_bytes(BLOCK[:1] * length)
            sizes.append(len(await ws.receive_bytes(timeout=20)))
        await asyncio.sleep(1.0)
        await ws.send_str("still there?")
        return {"sizes": sizes, "said": await ws.receive_str(timeout=5)}


async def send(session: ClientSession, url: str, size: float) -> dict[str, Any]:
    """A body without Content-Length; what the server saw and what was sent."""
    digest = hashlib.sha256()
    async for block in _blocks(int(size)):
        digest.update(block)
    async with session.post(url, data=_blocks(int(size))) as response:
        return {"status": response.status, "server": await response.json(), "sha256": digest.hexdigest()}


async def listen(session: ClientSession, url: str, _: float) -> dict[str, Any]:
    """Seconds between the sending and the arrival of each event; both are on this machine's clock."""
    late = []
    async with session.get(url) as response:
        async for line in response.content:
            if line.startswith(b"data:"):
                late.append(time.monotonic() - float(line[5:]))
        return {"status": response.status, "late": late}


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
    app.add_routes([web.get("/ws", websocket), web.post("/upload", upload), web.get("/events", events)])
    web.run_app(app, host=["0.0.0.0", "::"], port=port, print=None, keepalive_timeout=3600, access_log=None)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        asyncio.run(client(sys.argv[1], sys.argv[2], float((sys.argv[3:] or ["0"])[0])))
