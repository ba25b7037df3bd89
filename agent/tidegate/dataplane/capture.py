"""What must exist inside a pod's netns before the kernel may send connections there. Functions that block."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.dataplane.devices import InNetns, Netns
from tidegate.linux import netlink
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY, CAPTURE6_PREFIX
from tidegate.model.workload import Sandbox

IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it


@dataclass(frozen=True, slots=True)
class Inside:
    """What is done inside of pods. Every call blocks and raises OSError."""

    prepare: Callable[[int], bool]  # bring up lo and route the capture prefix to it; whether IPv6 works inside
    free_ports: Callable[[int, bool], tuple[int, int]]  # for Envoy's listeners; the second is 0 without IPv6
    restore: Callable[[int], None]  # undo prepare, but for lo, which stays up


@dataclass(frozen=True, slots=True)
class Records:
    """What is known of sandboxes beside the data plane. Calls block; all are made on one thread."""

    netns: Callable[[int], Netns]  # of the sandbox with this cookie, to be closed; OSError or KeyError if it is gone
    remember: Callable[[Sandbox], None]  # what was opened, for the next agent


def inside(in_netns: InNetns) -> Inside:
    """The real thing."""
    return Inside(
        prepare=lambda fd: in_netns(fd, _prepare_loopback),
        free_ports=lambda fd, v6: in_netns(fd, lambda: _free_ports(v6)),
        restore=lambda fd: in_netns(fd, lambda: netlink.remove_from_loopback(CAPTURE6_PREFIX)),
    )


def _prepare_loopback() -> bool:
    netlink.loopback_up()
    return netlink.add_to_loopback(CAPTURE6_PREFIX)


def _free_ports(v6: bool) -> tuple[int, int]:
    return _free_port(socket.AF_INET), _free_port(socket.AF_INET6) if v6 else 0


def _free_port(family: socket.AddressFamily) -> int:
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        probe.bind((str(CAPTURE6_ENVOY if family == socket.AF_INET6 else CAPTURE4_ENVOY), 0))
        port: int = probe.getsockname()[1]
        return port
