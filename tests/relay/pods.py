"""Two network namespaces joined by a veth, and sockets opened inside them from this process."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cffi import FFI

from tidegate.model.capture import CAPTURE6_PREFIX

T = TypeVar("T")
Socket = socket.socket  # the class below has a method of this name

SO_NETNS_COOKIE = 71
CAPTURE4, CAPTURE6 = "127.77.0.1", "fd74:6964:6567:6174::1"

_ffi: Any = FFI()
_ffi.cdef("int setns(int fd, int kind);")
_libc = _ffi.dlopen(None)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Pod:
    """A network namespace with lo up, the v6 capture prefix routed to it, and a thread that lives inside."""

    def __init__(self, role: str) -> None:
        self.name = f"x-fastpath-{role}-{secrets.token_hex(3)}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "route", "add", "local", str(CAPTURE6_PREFIX), "dev", "lo", "src", "::1")
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        self._opened: list[socket.socket] = []
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)
        with self.socket() as probe:
            self.cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")

    def _enter(self) -> None:
        if _libc.setns(self.fd, 0x40000000):
            raise OSError(_ffi.errno, os.strerror(_ffi.errno))

    def run(self, fn: Callable[[], T]) -> T:
        """Call fn on the thread inside."""
        return self._inside.submit(fn).result()

    @contextmanager
    def sysctl(self, name: str, value: str) -> Iterator[None]:
        """A sysctl of this namespace for a while; name as net/ipv4/tcp_wmem."""
        file = Path("/proc/sys", name)  # the kernel looks net/ up by the namespace of the calling thread
        before = self.run(file.read_text)
        self.run(lambda: file.write_text(value))
        try:
            yield
        finally:
            self.run(lambda: file.write_text(before))

    def socket(self, family: int = socket.AF_INET) -> Socket:
        """A non-blocking TCP socket of this namespace."""

        def make() -> Socket:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            return sock

        self._opened.append(sock := self.run(make))
        return sock

    def close_sockets(self) -> None:
        """Those that a test left open."""
        while self._opened:
            self._opened.pop().close()

    def listen(self, address: str, port: int = 0, backlog: int = 4096) -> Socket:
        sock = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(backlog)
        return sock

    def remove(self) -> None:
        self._inside.shutdown()
        os.close(self.fd)
        ip("netns", "del", self.name)


CLIENT4, SERVER4, CLIENT6, SERVER6 = "10.77.0.1", "10.77.0.2", "fd00:77::1", "fd00:77::2"
CLIENT4_SECOND = "10.77.0.9"


def join(client: Pod, server: Pod) -> None:
    """One link between the two, with routes for everything over it."""
    a, b = f"xfp{secrets.token_hex(3)}a", f"xfp{secrets.token_hex(3)}b"
    ip("-n", client.name, "link", "add", a, "type", "veth", "peer", "name", b, "netns", server.name)
    for pod, link, own4, own6, other4, other6 in (
        (client, a, CLIENT4, CLIENT6, SERVER4, SERVER6),
        (server, b, SERVER4, SERVER6, CLIENT4, CLIENT6),
    ):
        ip("-n", pod.name, "addr", "add", f"{own4}/24", "dev", link)
        ip("-n", pod.name, "addr", "add", f"{own6}/64", "dev", link, "nodad")
        ip("-n", pod.name, "link", "set", link, "up")
        ip("-n", pod.name, "route", "add", "default", "via", other4)
        ip("-n", pod.name, "-6", "route", "add", "default", "via", other6)
    ip("-n", client.name, "addr", "add", f"{CLIENT4_SECOND}/24", "dev", a)
    for last in range(3, 8):
        ip("-n", server.name, "addr", "add", f"10.77.0.{last}/24", "dev", b)
