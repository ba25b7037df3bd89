"""What must exist inside a pod's netns before the kernel may send connections there. Functions that block."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tidegate.dataplane.devices import InNetns, NetnsHandle
from tidegate.linux import netlink
from tidegate.linux.sock_diag import ListedSocket, TcpSockets, destroy, tcp_sockets
from tidegate.model.capture import (
    CAPTURE4_ENVOY,
    CAPTURE4_FASTPATH,
    CAPTURE4_INBOUND,
    CAPTURE6_ENVOY,
    CAPTURE6_FASTPATH,
    CAPTURE6_INBOUND,
    CAPTURE6_PREFIX,
)
from tidegate.model.net import IPAddress
from tidegate.model.workload import Sandbox

IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it
LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT, TOP_PORT = 1024, 65533  # below are services' well-known ports; above what programs try at the very end


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
    # The same, and a socket that is readable when links, addresses or IPv6 routes have changed since.
    watch: Callable[[int], tuple[Seen, socket.socket]]
    # For all sockets of ours: with IPv6 or without, and the ports on which the pod says that it listens.
    free_port: Callable[[int, bool, Container[int]], int]
    restore: Callable[[int], None]  # undo prepare, but for lo, which stays up
    sockets: Callable[[int], TcpSockets]  # that are connected or listen in there
    cut: Callable[[int, ListedSocket], bool]  # end one of them; False if it is gone


@dataclass(frozen=True, slots=True)
class SandboxRecords:
    """What is known of sandboxes beside the data plane."""

    netns: Callable[[int], NetnsHandle]  # of this cookie, to be closed; OSError or KeyError if it is gone
    remember: Callable[[Sandbox], None]  # what was opened, for the next agent; blocks, and is called on one thread


def inside(in_netns: InNetns) -> Inside:
    """The real thing."""
    return Inside(
        prepare=lambda fd: in_netns(fd, _prepare_loopback),
        watch=lambda fd: in_netns(fd, _watch),
        free_port=lambda fd, v6, declared: in_netns(fd, lambda: _free_port(v6, declared)),
        restore=lambda fd: in_netns(fd, lambda: netlink.remove_from_loopback(CAPTURE6_PREFIX)),
        sockets=lambda fd: in_netns(fd, tcp_sockets),
        cut=lambda fd, one: in_netns(fd, lambda: destroy(one)),
    )


def _prepare_loopback() -> Seen:
    routed = _arrange()
    return Seen(netlink.has_ipv6(), routed, netlink.addresses())


def _arrange() -> bool:
    netlink.loopback_up()
    return netlink.add_to_loopback(CAPTURE6_PREFIX)


def _watch() -> tuple[Seen, socket.socket]:
    """Watched after our own changes, which are no news, and before the look: what changes from then on is told."""
    _arrange()
    events = netlink.changes()
    try:
        return _prepare_loopback(), events
    except BaseException:
        events.close()
        raise


def remarks(sandbox: Sandbox, seen: Seen) -> tuple[str, ...]:
    """What is not as it should be in a pod that is captured: phrases for its status."""
    said = []
    if sandbox.found:
        said.append("it ran before it was found: connections that it had by then are not captured")
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


def ports_to_try(lowest: int, highest: int, declared: Container[int]) -> Iterator[int]:
    """Port numbers for our listeners in a pod, the best first. lowest, highest: of net.ipv4.ip_local_port_range.

    A listener on one address keeps everybody off the same port of all addresses, so ours are where an application is
    least likely to want to be: above the range from which the kernel gives ports, then below it, then in it, each from
    the top, and never where the pod says that it listens. All listeners of a pod have different addresses, so that one
    number is enough for them, and for the sockets of the node's DNS, TCP and UDP.
    """
    above, below = range(TOP_PORT, max(highest, LOWEST_PORT - 1), -1), range(lowest - 1, LOWEST_PORT - 1, -1)
    within = range(min(highest, TOP_PORT), max(lowest, LOWEST_PORT) - 1, -1)
    for number in chain(above, below, within):  # one after the other: the first is nearly always it
        if number not in declared:
            yield number


def _free_port(v6: bool, declared: Container[int]) -> int:
    lowest, highest = (int(word) for word in LOCAL_PORTS.read_text().split())  # of the netns of this thread
    v6_addresses = (CAPTURE6_FASTPATH, CAPTURE6_ENVOY, CAPTURE6_INBOUND) if v6 else ()
    addresses = (CAPTURE4_FASTPATH, CAPTURE4_ENVOY, CAPTURE4_INBOUND, *v6_addresses)
    for number in ports_to_try(lowest, highest, declared):
        if all(_is_free(str(ip), number, kind) for ip in addresses for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return number
    raise OSError(errno.EADDRINUSE, "no port is left for the capture listeners")


def _is_free(address: str, number: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As the listeners do: TIME_WAIT does not matter. For UDP it would mean to share.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if probe.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        try:
            probe.bind((address, number))
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
