"""What a root process inside a pod tries: ways around capture, and ways into the mesh's listeners.

Standard library only; prints one JSON object. Arguments: VIP and port of a `probe.py serve` behind the fast path, and
the address of another pod. `web` must be an HTTP service.
"""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

IPPROTO_MPTCP = 262
REQUESTS = 20
RELAYED = 5


def answer(sock: socket.socket) -> str:
    """What the server says to `who`; the error's name if there is no connection."""
    return str(json.loads(sock.makefile().readline())["client"])


def fast_open(host: str, port: int) -> str:
    """connect() by the first sendto(): another way through the kernel than connect(2)."""
    with socket.socket() as sock:
        sock.sendto(b"who\n", socket.MSG_FASTOPEN, (host, port))
        return answer(sock)


def multipath(host: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as sock:
        sock.connect((host, port))
        sock.sendall(b"who\n")
        return answer(sock)


def bound_to(source: str, host: str) -> str:
    """X-Forwarded-For as the server got it from a client that bound a source."""
    subprocess.run(["ip", "address", "add", f"{source}/32", "dev", "lo"], check=True)
    try:
        connection = http.client.HTTPConnection(host, 80, timeout=120, source_address=(source, 0))
        connection.request("GET", "/", headers={"Host": "web"})
        return str(json.load(connection.getresponse())["headers"]["x-forwarded-for"])
    finally:
        subprocess.run(["ip", "address", "del", f"{source}/32", "dev", "lo"], check=True)


def relayed_as(source: str, host: str, port: int) -> int:
    """Connections over TCP that were accepted from a client that bound a source; whatever became of them then."""
    subprocess.run(["ip", "address", "add", f"{source}/32", "dev", "lo"], check=True)
    try:
        for _ in range(RELAYED):
            with socket.socket() as sock:
                sock.bind((source, 0))
                sock.connect((host, port))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # none lingers
    finally:
        subprocess.run(["ip", "address", "del", f"{source}/32", "dev", "lo"], check=True)
    return RELAYED


def join(address: str, port: int) -> socket.socket:
    """A listener that claims an address and port which the mesh listens on."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    sock.listen()
    return sock


def steal(address: str, port: int, host: str) -> int:
    """How many of REQUESTS requests to an HTTP service end at a listener of ours instead of Envoy's."""
    thieves = [join(address, port) for _ in range(4)]
    selector = selectors.DefaultSelector()
    for thief in thieves:
        selector.register(thief, selectors.EVENT_READ)
    done = threading.Thread(target=ask_often, args=(host,))
    done.start()
    stolen = 0
    while done.is_alive():
        for key, _ in selector.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.accept()[0].close()
            stolen += 1
    return stolen


def ask_often(host: str) -> None:
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection(host, 80, timeout=120)
        try:
            connection.request("GET", "/", headers={"Host": "web"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass


def listener(address: str) -> int:
    """Port on which something listens at an IPv4 address of this netns."""
    lines = subprocess.run(["ss", "-Hltn4"], check=True, capture_output=True, text=True).stdout.split()
    return next(int(word.rpartition(":")[2]) for word in lines if word.startswith(f"{address}:"))


def outcome(attack: Callable[[], object]) -> object:
    try:
        return attack()
    except OSError as error:
        return error.__class__.__name__ if error.errno != 98 else "EADDRINUSE"


def main() -> None:
    vip, port, victim = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    web = socket.gethostbyname("web")
    fastpath, envoy = listener("127.77.0.1"), listener("127.77.0.2")
    attacks: dict[str, Callable[[], object]] = {
        "fast open": lambda: fast_open(vip, port),
        "mptcp": lambda: multipath(vip, port),
        "fast open to capture": lambda: fast_open("127.77.0.1", fastpath),
        "mptcp to capture": lambda: multipath("127.77.0.1", fastpath),
        "neighbour's address": lambda: bound_to(victim, web),
        "relayed as a neighbour": lambda: relayed_as(victim, vip, port),
        "join fastpath": lambda: join("127.77.0.1", fastpath).close(),
        "join fastpath by wildcard": lambda: join("0.0.0.0", fastpath).close(),
        "steal from envoy": lambda: steal("127.77.0.2", envoy, web),
        "steal from envoy by wildcard": lambda: steal("0.0.0.0", envoy, web),
    }
    json.dump({name: outcome(attack) for name, attack in attacks.items()}, sys.stdout)


if __name__ == "__main__":
    main()
