"""Capture listeners of one pod: what must exist inside its netns before the kernel may send connections there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from tidegate.linux import netlink
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY, CAPTURE6_PREFIX
from tidegate.model.workload import Capture, Sandbox

T = TypeVar("T")

IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it


class Relay(Protocol):
    """The part of fastpath.FastPath that opens listeners."""

    def add_pod(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]: ...

    def remove_pod(self, cookie: int) -> None: ...


class InNetns(Protocol):
    """linux.netns.in_netns: run a function on a thread that is inside the netns."""

    def __call__(self, fd: int, fn: Callable[[], T], /) -> T: ...


def open_capture(sandbox: Sandbox, fd: int, relay: Relay, in_netns: InNetns) -> Sandbox:
    """Open the fast path's listeners in the pod and set ports aside for Envoy's; returns the sandbox with both.

    Envoy's ports of an earlier life of the agent are kept, since Envoy may have outlived it and still listen there.
    fd: the pod's netns, borrowed for the call. Raises OSError if the pod has no room for a listener.
    """
    v6 = in_netns(fd, _prepare_loopback)
    fastpath4, fastpath6 = relay.add_pod(sandbox.netns_cookie, fd, v6)
    envoy4, envoy6 = sandbox.capture.envoy4, sandbox.capture.envoy6
    if not envoy4:
        envoy4, envoy6 = in_netns(fd, lambda: (_free_port(socket.AF_INET), _free_port(socket.AF_INET6) if v6 else 0))
    return replace(sandbox, capture=Capture(fastpath4, fastpath6, envoy4, envoy6), v6_capture=v6)


def close_capture(sandbox: Sandbox, fd: int, relay: Relay, in_netns: InNetns) -> None:
    """Undo open_capture."""
    relay.remove_pod(sandbox.netns_cookie)
    in_netns(fd, lambda: netlink.remove_from_loopback(CAPTURE6_PREFIX))


def _prepare_loopback() -> bool:
    netlink.loopback_up()
    return netlink.add_to_loopback(CAPTURE6_PREFIX)


def _free_port(family: socket.AddressFamily) -> int:
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        probe.bind((str(CAPTURE6_ENVOY if family == socket.AF_INET6 else CAPTURE4_ENVOY), 0))
        port: int = probe.getsockname()[1]
        return port
