"""A small HTTP/1.1 server on which every sample service stands.

Standard library only, because a lab pod sees nothing but the distribution's Python. It keeps connections alive, listens
on IPv4 and IPv6 with one socket, runs one thread per connection, answers /health by itself and stops on SIGTERM without
losing a request.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

BODY_LIMIT = 64 * 1024 * 1024
# Longer than the hour after which proxies drop an idle upstream connection: the server must not be the one that closes,
# or a request sent at that very moment is lost.
IDLE_SECONDS = 2 * 3600.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request, fully read. `path` is percent-decoded and without the query; `target` is what was on the wire."""

    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes
    peer: str

    def arg(self, name: str, default: str = "") -> str:
        """The first value of a query argument, else `default`."""
        return self.query.get(name, [default])[0]

    def header(self, name: str, default: str = "") -> str:
        """The value of a header whatever its case, else `default`."""
        return str(self.headers.get(name, default))


@dataclass(slots=True)
class Response:
    """What a handler returns. With `stream` the body is sent in chunks and `body` is not used."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: Iterable[bytes] | None = None


Handle = Callable[[Request], Response]


def json_response(value: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A JSON answer that a person can read in a terminal."""
    return Response(status, json.dumps(value, indent=2).encode() + b"\n", "application/json", list(headers))


def pod_name() -> str:
    """The pod's name as Kubernetes tells it (POD_NAME by the downward API, or HOSTNAME)."""
    return os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or socket.gethostname()


class Service(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """An HTTP service: `handle` is called in the connection's thread for each request but /health.

    port 0 takes a free one (see `port`). `drain` is how long, in seconds, kept-alive connections are still served
    (with `Connection: close`) after SIGTERM; `grace` how long requests in flight may then take to finish.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, name: str, handle: Handle, port: int, *, drain: float = 0.3, grace: float = 10.0) -> None:
        self.name, self.handle_request_fn = name, handle
        self.draining = False
        self._drain, self._grace = drain, grace
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, bool] = {}  # connection -> a request is being answered
        self.address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
        threading.stack_size(512 * 1024)
        try:
            super().__init__(("::", port), _Connection)
        except OSError:
            # IPv6 switched off on this machine (ipv6.disable=1): the service still has to run.
            self.address_family = socket.AF_INET
            super().__init__(("0.0.0.0", port), _Connection)

    def server_bind(self) -> None:
        """Bind for both families: v4 clients show up as v4-mapped addresses."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return int(self.server_address[1])

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, finish what is in flight, return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self.stop, daemon=True).start())
        log(f"{self.name} listens on port {self.port}")
        self.serve_forever(poll_interval=0.1)
        deadline = time.monotonic() + self._grace
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.server_close()
        log(f"{self.name} stopped")

    def stop(self) -> None:
        """Stop in the order that loses nothing: announce, stop accepting, close idle connections."""
        self.draining = True
        time.sleep(self._drain)
        self.shutdown()
        with self._lock:
            for connection, busy in self._connections.items():
                if not busy:
                    # Data that already arrived can still be read after SHUT_RD: such a request is answered.
                    shut_quietly(connection)

    def track(self, connection: socket.socket, busy: bool) -> None:
        """Remember whether a connection is waiting for a request or answering one."""
        with self._lock:
            self._connections[connection] = busy

    def forget(self, connection: socket.socket) -> None:
        """The connection is gone."""
        with self._lock:
            self._connections.pop(connection, None)

    def _busy(self) -> bool:
        with self._lock:
            return any(self._connections.values())

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away is no news; anything else is a bug and is shown."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log(traceback.format_exc())


class _Connection(BaseHTTPRequestHandler):
    """One client connection: parses requests, calls the service, writes each answer with a single send."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Service

    def setup(self) -> None:
        super().setup()
        self.server.track(self.connection, busy=False)

    def finish(self) -> None:
        self.server.forget(self.connection)
        super().finish()

    def parse_request(self) -> bool:
        self.server.track(self.connection, busy=True)
        return super().parse_request()

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self.server.track(self.connection, busy=False)
        if self.server.draining:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The base class's own lines (bad requests) go where ours go."""
        log(f"{self.server.name} {self.address_string()} {format % args}")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Replaced by the line that _answer writes."""

    def _answer(self) -> None:
        started = time.monotonic()
        try:
            body = self._read_body()
        except ValueError as error:
            self.close_connection = True
            self._send(json_response({"error": str(error)}, 400))
            return
        parts = urlsplit(self.path)
        peer = str(self.client_address[0]).removeprefix("::ffff:")
        query = parse_qs(parts.query, keep_blank_values=True)
        request = Request(self.command, self.path, unquote(parts.path), query, self.headers, body, peer)
        if request.path == "/health":
            self._send(json_response({"status": "draining" if self.server.draining else "ok"}))
            return
        try:
            response = self.server.handle_request_fn(request)
        except Exception as error:
            log(traceback.format_exc())
            response = json_response({"error": f"{type(error).__name__}: {error}"}, 500)
        self._send(response)
        took = (time.monotonic() - started) * 1000
        extra = "".join(f" {name}={value}" for name in ("x-request-id", "end-user") if (value := request.header(name)))
        log(f"{self.server.name} {peer} {self.command} {self.path} {response.status} {took:.1f}ms{extra}")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = int(self.headers.get("content-length") or 0)
        if not 0 <= length <= BODY_LIMIT:
            raise ValueError(f"content-length {length} is not in 0..{BODY_LIMIT}")
        return self.rfile.read(length)

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            if len(body) + size > BODY_LIMIT:
                raise ValueError(f"body is longer than {BODY_LIMIT} bytes")
            body += self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(8192).strip():
            pass  # trailers
        return bytes(body)

    def _send(self, response: Response) -> None:
        if self.server.draining:
            self.close_connection = True
        phrase = HTTPStatus(response.status).phrase if response.status in HTTPStatus._value2member_map_ else "Status"
        lines = [
            f"HTTP/1.1 {response.status} {phrase}",
            f"date: {self.date_time_string()}",
            f"server: {self.server.name}",
            f"x-served-by: {pod_name()}",
        ]
        lines += [f"{name}: {value}" for name, value in response.headers]
        bodiless = response.status < 200 or response.status in (204, 304)
        if not bodiless:
            lines.append(f"content-type: {response.content_type}")
            streamed = response.stream is not None
            lines.append("transfer-encoding: chunked" if streamed else f"content-length: {len(response.body)}")
        if self.close_connection:
            lines.append("connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        if bodiless or self.command == "HEAD":
            self.wfile.write(head)
        elif response.stream is None:
            self.wfile.write(head + response.body)
        else:
            self.wfile.write(head)
            for piece in response.stream:
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")


def shut_quietly(connection: socket.socket) -> None:
    """No more reading from a connection that may already be gone."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


def log(text: str) -> None:
    """One line to standard output, written at once so that threads do not mix theirs."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")
    sys.stdout.flush()
