"""Network namespaces: make, remove, list, and run code inside one.

A thread belongs to a network namespace of its own, so code runs inside one on a thread that went there and never comes
back. Only this file knows pyroute2.netns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns as pyroute2_netns

from tidegate.errors import Fatal
from tidegate.lab.launch import tool
from tidegate.lab.paths import NETNS_ROOT

T = TypeVar("T")


class NetnsThread:
    """One thread that lives in a network namespace. The sockets it opens belong there and may be used anywhere."""

    def __init__(self, path: Path) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=path.name, initializer=_enter, initargs=(str(path),))

    async def run(self, fn: Callable[[], T]) -> T:
        """Call fn in the namespace."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, fn)

    async def connect(self, address: str, port: int) -> socket.socket:
        """A connected TCP socket (non-blocking). Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = await self.run(lambda: socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        self._pool.shutdown(wait=False)


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pyroute2_netns.setns(fd)
    finally:
        os.close(fd)


def set_sysctls(values: Mapping[str, str]) -> None:
    """Write sysctls (``net/ipv4/ip_forward``) of the calling thread's namespace; absent ones are left alone.

    /proc/sys/net is looked up by the namespace of the calling thread, so run this on a NetnsThread.
    """
    for name, value in values.items():
        with contextlib.suppress(FileNotFoundError):  # IPv6 may be compiled out or disabled
            Path("/proc/sys", name).write_text(value)


async def add(path: Path) -> None:
    """Create a network namespace bound at /run/netns/NAME. Raises Fatal."""
    await run([tool("ip"), "netns", "add", path.name], f"network namespace {path.name}")


async def ip(netns: Path, commands: Sequence[str]) -> None:
    """Run iproute2 commands inside the namespace, all in one process. Raises Fatal naming the one that failed."""
    argv = [tool("ip"), "-n", netns.name, "-batch", "-"]
    await run(argv, f"network of {netns.name}", "\n".join(commands) + "\n", echo=commands)


async def run(argv: Sequence[str], subject: str, text: str = "", echo: Sequence[str] = ()) -> str:
    """Run a tool to its end and return its output. Raises Fatal with its error text."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(text.encode())
    if process.returncode:
        what = "; ".join(echo) or " ".join(argv)
        raise Fatal(subject, err.decode(errors="replace").strip() or f"exit code {process.returncode}", f"ran: {what}")
    return out.decode(errors="replace")


def names(prefix: str) -> list[str]:
    """Names of the bound network namespaces that begin with prefix."""
    return sorted(entry.name for entry in NETNS_ROOT.glob("*") if entry.name.startswith(prefix))
