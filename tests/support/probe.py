"""Program that test pods run: a TCP server that tells what it sees, and clients that tell what they see.

Standard library only: pods run the distribution's Python. Every command prints one JSON object.

Server protocol, one line per connection: `who` (answers with the addresses of the connection), `echo` (bytes come back
until EOF), `sink` (reads until EOF, answers length and SHA-256), `source N` (sends N bytes of the pattern), `reset`
(aborts), `hold` (keeps the connection until the client ends it).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import socketserver
import sys
import time

LINGER_ABORT = b"\1\0\0\0\0\0\0\0"  # struct linger { l_onoff = 1, l_linger = 0 }: close sends RST
BLOCK = bytes(range(256)) * 256  # 64 KiB pattern; byte at offset i is i % 256


class Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        command, _, argument = self.rfile.readline().decode().strip().partition(" ")
        getattr(self, "do_" + command)(argument)

    def do_who(self, _: str) -> None:
        peer, own = self.request.getpeername(), self.request.getsockname()
        self._answer({"client": plain(peer[0]), "client_port": peer[1], "local": plain(own[0]), "port": own[1]})

    def do_echo(self, _: str) -> None:
        # From rfile, not from the socket: what came together with the command is in its buffer.
        while data := self.rfile.read1(65536):
            self.request.sendall(data)

    def do_sink(self, argument: str) -> None:
        digest, total, pause = hashlib.sha256(), 0, float(argument or 0)
        while data := self.rfile.read1(65536):
            digest.update(data)
            total += len(data)
            if pause:
                time.sleep(pause)
        self._answer({"bytes": total, "sha256": digest.hexdigest()})

    def do_source(self, argument: str) -> None:
        left = int(argument)
        while left:
            sent = self.request.send(BLOCK[: min(left, len(BLOCK))])
            if sent % 256:
                self.request.sendall(BLOCK[sent % 256 : 256][: left - sent])
                sent += min(left - sent, 256 - sent % 256)
            left -= sent

    def do_reset(self, _: str) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ABORT)
        # socketserver would shut the socket down in order first, and rfile keeps it open: close the descriptor itself.
        socket.close(self.request.detach())

    def do_hold(self, _: str) -> None:
        self._answer({"held": True})
        self.rfile.read()

    def _answer(self, value: object) -> None:
        self.wfile.write(json.dumps(value).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 4096

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def plain(address: str) -> str:
    """An address as a person writes it: v4-mapped without its prefix."""
    return address.removeprefix("::ffff:")


def resolved(host: str, port: int, family: str) -> str:
    """The address that a socket of this family dials for a name."""
    kind = socket.AF_INET if family in ("4", "mapped") else socket.AF_INET6
    return str(socket.getaddrinfo(host, port, kind, socket.SOCK_STREAM)[0][4][0])


def connect(host: str, port: int, family: str, timeout: float = 30.0) -> socket.socket:
    """Connect as an application would: 4, 6 (dual-stack socket), mapped (v4 over an AF_INET6 socket) or v6only."""
    address: tuple[str, int] | tuple[str, int, int, int] = (resolved(host, port, family), port)
    if family == "mapped":
        address = ("::ffff:" + address[0], port, 0, 0)
    sock = socket.socket(socket.AF_INET if family == "4" else socket.AF_INET6, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    if family == "v6only":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.connect(address)
    return sock


def dial(host: str, port: int, family: str) -> dict[str, object]:
    """What the client sees (peer, sock) and what the server saw (server)."""
    try:
        with connect(host, port, family) as sock:
            seen = {"peer": plain(sock.getpeername()[0]), "peer_port": sock.getpeername()[1]}
            seen["dialled"] = resolved(host, port, family)
            seen["sock"] = plain(sock.getsockname()[0])
            sock.sendall(b"who\n")
            return {**seen, "server": json.loads(sock.makefile().readline())}
    except OSError as error:
        return {"error": error.__class__.__name__, "errno": error.errno}


def spread(host: str, port: int, count: int) -> dict[str, object]:
    """How many of count connections, one after the other, each address answered."""
    answered: dict[str, int] = {}
    for _ in range(count):
        with connect(host, port, "4") as sock:
            sock.sendall(b"who\n")
            local = str(json.loads(sock.makefile().readline())["local"])
        answered[local] = answered.get(local, 0) + 1
    return {"answered": answered}


def upload(host: str, port: int, size: int, pause: float) -> dict[str, object]:
    """Send size bytes of the pattern, half-close, return what the server counted beside what was sent."""
    digest, left = hashlib.sha256(), size
    with connect(host, port, "4", 300) as sock:
        sock.sendall(f"sink {pause}\n".encode())
        while left:
            block = BLOCK[: min(left, len(BLOCK))]
            sock.sendall(block)
            digest.update(block)
            left -= len(block)
        sock.shutdown(socket.SHUT_WR)
        return {"sent": size, "sha256": digest.hexdigest(), "server": json.loads(sock.makefile().readline())}


def download(host: str, port: int, size: int, pause: float) -> dict[str, object]:
    """Half-close at once, then read size bytes; pause seconds between reads make a slow reader."""
    expected, got, total, offset = hashlib.sha256(), hashlib.sha256(), 0, 0
    with connect(host, port, "4", 300) as sock:
        sock.sendall(f"source {size}\n".encode())
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            got.update(data)
            total += len(data)
            if pause:
                time.sleep(pause)
    while offset < size:
        block = BLOCK[: min(size - offset, len(BLOCK))]
        expected.update(block)
        offset += len(block)
    return {"bytes": total, "equal": got.digest() == expected.digest()}


def hold(host: str, port: int, count: int) -> dict[str, object]:
    """Open count connections, hold all of them, make each echo a distinct message, close."""
    socks = []
    try:
        for _ in range(count):
            socks.append(connect(host, port, "4", 30))
            socks[-1].sendall(b"echo\n")
        for index, sock in enumerate(socks):
            sock.sendall(f"message {index}\n".encode())
        right = sum(sock.makefile().readline() == f"message {index}\n" for index, sock in enumerate(socks))
        return {"opened": len(socks), "right": right}
    finally:
        for sock in socks:
            sock.close()


def ping(host: str, port: int, count: int) -> dict[str, object]:
    """How many of count connections to a Redis, all held at once, are answered."""
    socks, answered = [], 0
    try:
        for _ in range(count):
            socks.append(connect(host, port, "4", 30))
        for sock in socks:
            try:
                sock.sendall(b"PING\r\n")
                answered += sock.makefile().readline() == "+PONG\n"
            except OSError:
                pass
        return {"opened": len(socks), "answered": answered}
    finally:
        for sock in socks:
            sock.close()


def provoke_reset(host: str, port: int) -> dict[str, object]:
    """Ask the server to abort; say how that looked from here."""
    with connect(host, port, "4") as sock:
        sock.sendall(b"reset\n")
        try:
            return {"saw": "eof" if sock.recv(1) == b"" else "data"}
        except ConnectionResetError:
            return {"saw": "reset"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("ports", type=int, nargs="+")
    for name in ("dial", "spread", "upload", "download", "hold", "ping", "reset"):
        command = commands.add_parser(name)
        command.add_argument("host")
        command.add_argument("port", type=int)
        command.add_argument("--family", default="4", choices=["4", "6", "mapped", "v6only"])
        command.add_argument("--size", type=int, default=65536)
        command.add_argument("--pause", type=float, default=0)
        command.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    if options.command == "serve":
        servers = [Server(("::", port), Talk) for port in options.ports]
        for server in servers[1:]:
            import threading

            threading.Thread(target=server.serve_forever, daemon=True).start()
        servers[0].serve_forever()
    result = {
        "dial": lambda: dial(options.host, options.port, options.family),
        "spread": lambda: spread(options.host, options.port, options.count),
        "upload": lambda: upload(options.host, options.port, options.size, options.pause),
        "download": lambda: download(options.host, options.port, options.size, options.pause),
        "hold": lambda: hold(options.host, options.port, options.count),
        "ping": lambda: ping(options.host, options.port, options.count),
        "reset": lambda: provoke_reset(options.host, options.port),
    }[options.command]()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
