"""A protocol of lines in which the server speaks first, over TLS or not; standard library only.

`serve PORT [CERTIFICATE KEY CA]`: greets with a JSON object of what it sees of the connection (client, whose
certificate, the name that it asked for), then says each line back. With files it speaks TLS and wants a certificate.
`knock HOST PORT`: says a line at once, and prints the greeting, or `end` if no greeting comes, as of a server of TLS.
`talk HOST PORT`: prints the greeting, then what comes back for each line of standard input; `end` when the server ends.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

HANG_SECONDS = 120.0  # against hanging, and nothing else


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    context: ssl.SSLContext | None = None


class _Talk(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        asked: dict[int, str] = {}
        names: list[str] = []
        connection: Any = self.request
        server: Any = self.server
        if server.context is not None:
            me = threading.get_ident()
            server.context.sni_callback = lambda _, name, __: asked.update({threading.get_ident(): name or ""})
            try:
                connection = server.context.wrap_socket(connection, server_side=True)
            except OSError:
                return
            names = [v for part in connection.getpeercert()["subject"] for k, v in part if k == "commonName"]
            asked[0] = asked.get(me, "")
        said = {"client": self.client_address[0], "certificate": "".join(names), "name": asked.get(0, "")}
        with connection.makefile("rwb", 0) as lines:
            lines.write(json.dumps(said).encode() + b"\n")
            for line in lines:
                lines.write(line)


def _serve(port: str, *files: str) -> None:
    server = _Server(("0.0.0.0", int(port)), _Talk)
    if files:
        certificate, key, ca = files
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(certificate, key)
        server.context.load_verify_locations(ca)
        server.context.verify_mode = ssl.CERT_REQUIRED
    server.serve_forever()


def _talk(host: str, port: str) -> None:
    try:
        with (
            socket.create_connection((host, int(port)), HANG_SECONDS) as connection,
            connection.makefile("rwb", 0) as io,
        ):
            print(io.readline().decode().strip() or "end", flush=True)
            for line in sys.stdin:
                io.write(line.encode())
                print(io.readline().decode().strip() or "end", flush=True)
    except OSError:
        print("end", flush=True)


def _knock(host: str, port: str) -> None:
    try:
        with socket.create_connection((host, int(port)), HANG_SECONDS) as connection:
            connection.sendall(b"knock\n")
            first = connection.makefile("rb").readline()
    except OSError:
        first = b""
    print(first.decode().strip() if first.startswith(b"{") else "end")


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"serve": _serve, "talk": _talk, "knock": _knock}
    commands[sys.argv[1]](*sys.argv[2:])
