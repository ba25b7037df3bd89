"""A pod that takes whatever it gets, all at once; standard library only.

`greedy.py HOST AUTHORITY [BASE HTTP_DEAF]`: HOST serves as l4server from port BASE (7001) on (echo, sink, once, spout,
deaf), and has an HTTP port HTTP_DEAF (7011) that accepts and never reads. Holds downloads and uploads that nobody
reads, pours bulk streams, leaves connections half-closed, opens more without end, opens HTTP/2 connections with a
hundred bodies each. Tells on standard error `all` when everything is under way, then `bulk K` for each GiB poured.
Goes on until its standard input ends; prints one JSON object: how many of each there were.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
import threading

PORTS = ("7001", "7011")
ECHO, SINK, SPOUT, DEAF = 0, 1, 3, 4  # from BASE on
STUCK_DOWN, STUCK_UP, BULK, HALF_CLOSED, IDLE, HTTP2, STREAMS = 300, 200, 64, 300, 3000, 60, 100
BLOCK = bytes(1 << 17)
GIB = 1 << 30
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HEADERS, DATA = 1, 0
over = threading.Event()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def posts(host: str) -> bytes:
    """A connection's worth of HTTP/2 requests whose bodies never end: POST / by HPACK's static table (RFC 7541)."""
    authority = host.encode()
    head = b"\x83\x86\x84\x01" + bytes((len(authority),)) + authority
    begun = b"".join(frame(HEADERS, 4, 2 * n + 1, head) for n in range(STREAMS))
    return PREFACE + begun + b"".join(frame(DATA, 0, 2 * n + 1, bytes(16000)) for n in range(STREAMS) for _ in range(4))


def dial(host: str, port: int) -> socket.socket | None:
    """None where the mesh has a bound: being refused is what is expected of it."""
    with contextlib.suppress(OSError):
        sock = socket.create_connection((host, port))
        sock.setblocking(False)
        return sock
    return None


def stuffed(sock: socket.socket, data: bytes = BLOCK, often: int = 1 << 20) -> int:
    """Send until nothing is taken any more; how many bytes were."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < often:
            sent += sock.send(data)
    return sent


def pour(host: str, port: int) -> None:
    """Bulk streams, until it is over."""
    ready = selectors.DefaultSelector()
    for _ in range(BULK):
        if sock := dial(host, port):
            ready.register(sock, selectors.EVENT_WRITE)
    total = told = 0
    while not over.is_set():
        for key, _ in ready.select(1):
            with contextlib.suppress(OSError):
                total += key.fileobj.send(BLOCK)  # type: ignore[union-attr]
        if total // GIB > told:
            told = total // GIB
            say(f"bulk {told}")


def wait() -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    host, authority = sys.argv[1:3]
    base, http_deaf = map(int, sys.argv[3:] or PORTS)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: dict[str, list[socket.socket]] = {}

    def hold(what: str, count: int, port: int) -> list[socket.socket]:
        held[what] = [sock for _ in range(count) if (sock := dial(host, port))]
        return held[what]

    hold("down", STUCK_DOWN, base + SPOUT)
    uploads = hold("up", STUCK_UP, base + DEAF)
    for sock in hold("half_closed", HALF_CLOSED, base + DEAF):
        sock.shutdown(socket.SHUT_WR)
    requests = posts(authority)
    for sock in hold("http2", HTTP2, http_deaf):
        stuffed(sock, requests, 1)
    bulk = threading.Thread(target=pour, args=(host, base + SINK))
    bulk.start()
    hold("idle", IDLE, base + ECHO)
    for sock in uploads:
        stuffed(sock, often=1 << 30)
    say("all")
    threading.Thread(target=wait, daemon=True).start()
    while not over.is_set():
        for sock in uploads:
            stuffed(sock)
        for sock in held["http2"]:
            stuffed(sock, bytes(9))  # whatever it is taken for: its peer is busy with it
        over.wait(0.02)
    bulk.join()
    json.dump({what: len(socks) for what, socks in held.items()}, sys.stdout)


if __name__ == "__main__":
    main()
