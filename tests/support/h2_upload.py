"""A client of HTTP/2 that uploads all that it is allowed to and never gets an answer (RFC 9113). Plain sockets."""

from __future__ import annotations

import socket

from tests.support.eventually import HANG_SECONDS

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
FRAME = 16_384  # the largest that everybody has to take
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Uploader:
    """One connection to a server on this machine."""

    def __init__(self, port: int, host: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), HANG_SECONDS)
        self._left = b""
        self._host = host
        self._window = 65_535  # of the connection
        self._stream_window = 65_535  # that a new stream begins with
        self._streams: dict[int, int] = {}  # what is left of each one's window
        self.resets: set[int] = set()
        self.sent = 0  # bytes of bodies
        self._socket.sendall(_PREFACE + _frame(SETTINGS))
        self.settle()

    def open(self, number: int) -> None:
        """Begin that many POST requests."""
        authority = self._host.encode()
        # HPACK (RFC 7541): three names and values of the static table, and :authority with a value of ours.
        head = b"\x83\x86\x84\x01" + bytes([len(authority)]) + authority
        for _ in range(number):
            stream = 2 * len(self._streams) + 1
            self._streams[stream] = self._stream_window
            self._socket.sendall(_frame(HEADERS, head, stream, END_HEADERS))

    def fill(self) -> None:
        """Send until each window is used up, until the server has taken all of it, and until it allows no more."""
        while self._round():
            self.settle()

    def _round(self) -> int:
        before = self.sent
        for stream in self._streams:
            while stream not in self.resets and (room := min(self._window, self._streams[stream], FRAME)) > 0:
                self._socket.sendall(_frame(DATA, bytes(room), stream))
                self._window -= room
                self._streams[stream] -= room
                self.sent += room
        return self.sent - before

    def settle(self) -> None:
        """Wait for the answer to a PING: what was sent before it has been taken, and what came before it is known."""
        self._socket.sendall(_frame(PING, bytes(8)))
        while True:
            kind, flags, stream, payload = self._next()
            if kind == PING and flags & ACK:
                return
            if kind == SETTINGS and not flags & ACK:
                self._allowed(payload)
                self._socket.sendall(_frame(SETTINGS, b"", 0, ACK))
            elif kind == WINDOW_UPDATE:
                more = int.from_bytes(payload, "big")
                if stream:
                    self._streams[stream] += more
                else:
                    self._window += more
            elif kind == RST_STREAM:
                self.resets.add(stream)
            elif kind == GOAWAY:
                raise ConnectionError(f"GOAWAY: {payload!r}")

    def _allowed(self, settings: bytes) -> None:
        for offset in range(0, len(settings), 6):
            value = int.from_bytes(settings[offset + 2 : offset + 6], "big")
            if int.from_bytes(settings[offset : offset + 2], "big") == INITIAL_WINDOW_SIZE:
                for stream in self._streams:
                    self._streams[stream] += value - self._stream_window
                self._stream_window = value

    def _next(self) -> tuple[int, int, int, bytes]:
        head = self._exactly(9)
        size = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        while len(self._left) < size:
            block = self._socket.recv(65_536)
            if not block:
                raise ConnectionError("closed by the server")
            self._left += block
        out, self._left = self._left[:size], self._left[size:]
        return out

    def close(self) -> None:
        self._socket.close()


def _frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
