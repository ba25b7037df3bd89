"""Network namespaces: make, remove, list, and run code inside one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tidegate.errors import Fatal
from tidegate.linux.netns import in_netns
from tidegate_lab.launch import tool
from tidegate_lab.paths import NETNS_ROOT

T = TypeVar("T")


class OpenNetns:
    """An open network namespace. Sockets made inside belong there for good and may be used from anywhere."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    async def run(self, fn: Callable[[], T]) -> T:
        """Call fn in the namespace, on a thread."""
        return await asyncio.to_thread(in_netns, self._fd, fn)

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
        """Let go of it: an open namespace outlives its name."""
        os.close(self._fd)


def set_sysctls(values: Mapping[str, str]) -> None:
    """Write sysctls (``net/ipv4/ip_forward``) of the calling thread's namespace; absent ones are left alone.

    /proc/sys/net is looked up by the namespace of the calling thread, so call this through Netns.run.
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
