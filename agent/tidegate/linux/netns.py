"""Network namespaces: whose cookie is whose, and running a function inside one."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tidegate.native import checked, lib

T = TypeVar("T")

SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14


def in_netns(fd: int, fn: Callable[[], T]) -> T:
    """Run fn on a thread of its own that has entered the netns of descriptor fd; returns or raises what fn does.

    The thread ends afterwards, so nothing of the process stays in there but what fn opened. OSError if fd is no netns.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            checked(lib.tgb_setns(fd), f"netns descriptor {fd}")
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="in-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def current_cookie() -> int:
    """Cookie of the calling thread's netns: unique since boot, what every kernel table knows a pod by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def netns_cookie(fd: int) -> int:
    """Cookie of the netns of descriptor fd. OSError if fd is no netns."""
    return in_netns(fd, current_cookie)
