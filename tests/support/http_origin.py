"""An HTTP/1 server and a client that write bytes as a test wants them, and read them as they come."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.eventually import HANG_SECONDS

Answer = Callable[["Conversation"], None]
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:.*chunked", re.IGNORECASE | re.MULTILINE)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Message:
    """One request or response as it came: first line, header lines, body, trailer lines."""

    first: bytes
    lines: list[bytes]
    body: bytes = b""
    trailers: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.first.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; of several the values joined with commas."""
        out: dict[str, str] = {}
        for line in self.lines:
            name, _, value = line.decode("latin-1").partition(":")
            known = out.get(name.lower())
            out[name.lower()] = value.strip() if known is None else f"{known},{value.strip()}"
        return out


class Conversation:
    """One connection. Whoever waits longer than HANG_SECONDS gets TimeoutError."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(HANG_SECONDS)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def say(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def line(self) -> bytes:
        """The next line without its end; empty also at the end of the stream."""
        return self._file.readline().rstrip(b"\r\n")

    def read(self, size: int = -1) -> bytes:
        """size bytes, or what comes until the peer closes."""
        return self._file.read(size)

    def lines(self) -> list[bytes]:
        """Lines up to an empty one."""
        return list(iter(self.line, b""))

    def head(self) -> Message:
        """First line and header lines. Raises EOFError if the peer closes instead."""
        first = self.line()
        if not first:
            raise EOFError
        return Message(first, self.lines())

    def message(self, *, bodiless: bool = False) -> Message:
        """The next message, whole. bodiless: it answers a HEAD."""
        got = self.head()
        text = b"\n".join(got.lines)
        answer = got.first.startswith(b"HTTP/")
        if bodiless or (answer and got.status in (101, 204, 304)) or (answer and got.status < 200):
            return got
        if _CHUNKED.search(text):
            got.body = b"".join(self._chunks())
            got.trailers = self.lines()
        elif length := _LENGTH.search(text):
            got.body = self.read(int(length[1]))
        elif answer:
            got.body = self.read()
        return got

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.line().partition(b";")[0], 16):
            yield self.read(size)
            self.line()


class Origin:
    """Serves until the block ends. answers: by path without query, what happens to a connection whose request has that
    path; others get OK. path: of a unix socket, in place of a port. seen: what came, in order. connections: how many
    there were."""

    def __init__(self, answers: dict[str, Answer | bytes] | None = None, path: Path | None = None) -> None:
        self.answers = answers or {}
        self.path = path
        self.seen: list[Message] = []
        self.connections = 0
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self.port = 0
        if self.path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.create_server(str(self.path), family=socket.AF_UNIX)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _opened(self, sock: socket.socket) -> Conversation:
        """What stands before the first request of a connection; for those who have something there."""
        return Conversation(sock)

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        with contextlib.suppress(OSError, EOFError, ValueError), self._opened(sock) as talk:
            while True:
                request = talk.head()
                self.seen.append(request)
                path = request.first.split(b" ")[1].decode("latin-1").partition("?")[0]
                answer = self.answers.get(path, OK)
                if callable(answer):
                    answer(talk)
                else:
                    _body(talk, request)
                    talk.say(answer)
        self._open.discard(sock)


def _body(talk: Conversation, request: Message) -> None:
    text = b"\n".join(request.lines)
    if _CHUNKED.search(text):
        request.body = b"".join(talk._chunks())
        request.trailers = talk.lines()
    elif length := _LENGTH.search(text):
        request.body = talk.read(int(length[1]))


def dial(port: int) -> Conversation:
    return Conversation(socket.create_connection(("127.0.0.1", port), HANG_SECONDS))
