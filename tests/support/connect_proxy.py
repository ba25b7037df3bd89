"""A proxy that test pods run: PORT. Connects to whom a CONNECT asks for, if that is port 5432, and hands bytes on until
both have said all; answers 403 to anything else. Standard library only."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading


class _Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


class _Request(socketserver.StreamRequestHandler):
    rbufsize = 0  # what comes behind the head is not ours

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.rfile.read(1)
            if not byte:
                return
            head += byte
        method, target = head.split(b" ", 2)[:2]
        host, _, port = target.decode().rpartition(":")
        if method != b"CONNECT" or port != "5432":
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection((host, int(port))) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_hand_on, args=(server, self.connection))
            back.start()
            _hand_on(self.connection, server)
            back.join()


def _hand_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _Proxy(("0.0.0.0", int(sys.argv[1])), _Request).serve_forever()
