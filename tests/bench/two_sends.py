"""A server that answers in two sends, and a client that asks it on a new connection each time.

`two_sends.py serve PORT`: as Python's http.server and many others do it. `two_sends.py ask HOST PORT COUNT RATE`: so
many requests at so many per second; prints the milliseconds of each as a JSON list. Standard library only.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

BODY = b"x" * 1024
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def serve(port: int) -> None:
    with socket.create_server(("", port), backlog=256) as server:
        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


def answer(client: socket.socket) -> None:
    with client:
        left = b""
        while block := client.recv(65_536):
            left += block
            while b"\r\n\r\n" in left:
                left = left.partition(b"\r\n\r\n")[2]
                client.send(HEAD)
                client.send(BODY)


def ask(host: str, port: int, count: int, rate: float) -> list[float]:
    taken = []
    due = time.monotonic()
    for _ in range(count):
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        begun = time.perf_counter()
        with socket.create_connection((host, port), 5) as server:
            server.sendall(b"GET /two HTTP/1.1\r\nhost: %s:%d\r\n\r\n" % (host.encode(), port))
            got = b""
            while len(got) < len(BODY) or len(got) < got.index(b"\r\n\r\n") + 4 + len(BODY):
                block = server.recv(65_536)
                if not block:
                    raise ConnectionError(f"ended after {len(got)} bytes: {got[:60]!r}")
                got += block
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    print(json.dumps(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))))
