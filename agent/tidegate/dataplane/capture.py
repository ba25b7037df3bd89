"""What must exist inside a pod's netns before the kernel may send connections there. Functions that block."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.dataplane.devices import InNetns, Netns
from tidegate.linux import netlink
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY, CAPTURE6_PREFIX
from tidegate.model.net import IPAddress
from tidegate.model.workload import Sandbox

IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pod's netns is like at the moment."""

    has_ipv6: bool = True  # the kernel has it: sockets can be opened, also while it is switched off inside
    v6_capture: bool = True  # it is switched on, and the capture prefix is routed to lo
    addresses: frozenset[IPAddress] = frozenset()  # of interfaces other than lo, but for link-local ones of IPv6


@dataclass(frozen=True, slots=True)
class Inside:
    """What is done inside of pods. Every call blocks and raises OSError."""

    prepare: Callable[[int], Seen]  # bring up lo and route the capture prefix to it, as far as that is not so
    free_ports: Callable[[int, bool], tuple[int, int]]  # for Envoy's listeners; the second is 0 without IPv6
    changes: Callable[[int], socket.socket]  # readable when links, addresses or IPv6 routes have changed
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
        changes=lambda fd: in_netns(fd, netlink.changes),
        restore=lambda fd: in_netns(fd, lambda: netlink.remove_from_loopback(CAPTURE6_PREFIX)),
    )


def _prepare_loopback() -> Seen:
    netlink.loopback_up()
    routed = netlink.add_to_loopback(CAPTURE6_PREFIX)
    return Seen(netlink.has_ipv6(), routed, netlink.addresses())


def remarks(sandbox: Sandbox, seen: Seen) -> tuple[str, ...]:
    """What is not as it should be in a pod that is captured: phrases for its status."""
    said = []
    if not seen.v6_capture and any(address.version == 6 for address in seen.addresses):
        said.append(
            "connections to IPv6 services are not captured: IPv6 is switched off on its lo"
            " (net.ipv6.conf.lo.disable_ipv6)"
        )
    elif seen.v6_capture and not (sandbox.capture.fastpath6 and sandbox.capture.envoy6):
        said.append(
            "connections to IPv6 services are not captured: IPv6 was off when an earlier agent enrolled it;"
            " create the pod anew"
        )
    for attachment in sandbox.attachments:
        for gone in sorted(map(str, set(attachment.ips) - seen.addresses)):
            of = attachment.ifname or "it"
            said.append(f"{gone}, which CNI gave {of}, is on no interface any more; a new CNI ADD tells another one")
    return tuple(said)


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
