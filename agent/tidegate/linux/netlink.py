"""Links, addresses and routes of the current netns, and news of their changes.

Call inside the netns that is meant: see linux.netns.in_netns. Every call may wait for the kernel's lock of all networks
(RTNL), which others of the node hold while they make or remove interfaces; so nothing is asked twice.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from tidegate.linux import rtnetlink
from tidegate.linux.rtnetlink import attribute, attributes

_LOOPBACK_INDEX = 1  # the kernel gives every netns its lo as interface 1
# linux/rtnetlink.h, linux/if_addr.h, linux/if.h, linux/sockios.h
_NEWLINK, _GETADDR, _NEWROUTE, _DELROUTE, _GETROUTE = 16, 22, 24, 25, 26
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which flags to change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 7, 15
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL
_STATIC, _LOCAL_ROUTE = 4, 2  # RTPROT_STATIC, RTN_LOCAL
_IFREQ = struct.Struct("=16sh22x")  # struct ifreq with ifr_flags
_GET_FLAGS, _UP = 0x8913, 0x1  # SIOCGIFFLAGS, IFF_UP
_LOOPBACK6 = IPv6Address("::1")
# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE. Switching IPv6 on or off
# shows as an address of lo that comes or goes; a route that is flushed shows as itself.
_CHANGES = 0x1 | 0x10 | 0x100 | 0x400
_EVENT_BYTES = 4096  # of a netns' queue: what does not fit is told as "something was lost", which is all that is needed


def loopback_up() -> None:
    """Bring lo up; runtimes that skip the CNI loopback plugin leave it down. Raises OSError."""
    if not _is_up():
        rtnetlink.change(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, _LOOPBACK_INDEX, _UP, _UP))


def _is_up() -> bool:
    # The one question that waits for no lock.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        _, flags = _IFREQ.unpack(fcntl.ioctl(asking, _GET_FLAGS, _IFREQ.pack(b"lo", 0)))
    return bool(flags & _UP)


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 at all; it may be switched off in a netns all the same, for a while."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).close()
    except OSError:
        return False
    return True


def addresses() -> frozenset[IPv4Address | IPv6Address]:
    """What interfaces other than lo have, but for IPv6's link-local ones. Raises OSError."""
    found = set()
    for body in rtnetlink.dump(_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, *_, index = _ADDRESS.unpack_from(body)
        told = attributes(body[_ADDRESS.size :])
        # Of a point-to-point interface IFA_ADDRESS is the other end.
        packed = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
        if packed and index != _LOOPBACK_INDEX and family in (socket.AF_INET, socket.AF_INET6):
            found.add(ip_address(packed))
    return frozenset(address for address in found if not address.is_link_local or address.version == 4)


def changes() -> socket.socket:
    """A socket that becomes readable when links, addresses or IPv6 routes change here; it may be read from elsewhere.

    What it says need not be understood: empty it with heard() and look. Raises OSError.
    """
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BYTES)
        events.bind((0, _CHANGES))
    except OSError:
        events.close()
        raise
    return events


def heard(events: socket.socket) -> bool:
    """Forget what a socket of changes() was told; whether that was anything. By a bounded number of calls: whoever
    floods it is heard again."""
    anything = False
    for _ in range(_EVENT_BYTES // 16):
        try:
            events.recv(1, socket.MSG_TRUNC)
        except BlockingIOError:
            return anything
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        anything = True
    return anything


def add_to_loopback(prefix: IPv6Network) -> bool:
    """Make a whole prefix local to this netns, through lo and without an address that applications could find there.

    A listener needs IPV6_FREEBIND. False if IPv6 is switched off here; raises OSError if the kernel refuses. What is
    right already is not touched: it would be told as a change.

    Sockets that are not bound connect from ::1. With net.ipv4.tcp_tw_reuse = 2, the kernel's default, a port in
    TIME_WAIT may be used again after a second if one end is loopback; without, clients of a pod that close first would
    find about 470 ports per second for all that they connect to (28 232 ports, 60 s).
    """
    if _ipv6_disabled():
        return False
    if not _routed(prefix):
        rtnetlink.change(_NEWROUTE, rtnetlink.CREATE | rtnetlink.REPLACE, _route(prefix, source=_LOOPBACK6))
    return True


def _routed(prefix: IPv6Network) -> bool:
    wanted = (_LOCAL_TABLE, _LOOPBACK_INDEX, prefix.prefixlen, prefix.network_address.packed, _LOOPBACK6.packed)
    for body in rtnetlink.dump(_GETROUTE, _ROUTE.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)):
        _, length, *_ = _ROUTE.unpack_from(body)
        told = attributes(body[_ROUTE.size :])
        numbers = (int.from_bytes(told.get(kind, b""), sys.byteorder) for kind in (_RTA_TABLE, _RTA_OIF))
        if wanted == (*numbers, length, told.get(_RTA_DST), told.get(_RTA_PREFSRC)):
            return True
    return False


def remove_from_loopback(prefix: IPv6Network) -> None:
    """Undo add_to_loopback; a route that is not there is fine."""
    try:
        rtnetlink.change(_DELROUTE, 0, _route(prefix))
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.ENODEV):
            raise OSError(error.errno, f"cannot remove the route of {prefix} to lo: {error.strerror}") from error


def _route(prefix: IPv6Network, source: IPv6Address | None = None) -> bytes:
    """A local route of the prefix to lo."""
    head = _ROUTE.pack(socket.AF_INET6, prefix.prefixlen, 0, 0, _LOCAL_TABLE, _STATIC, 0, _LOCAL_ROUTE, 0)
    told = attribute(_RTA_DST, prefix.network_address.packed)
    told += attribute(_RTA_OIF, _LOOPBACK_INDEX.to_bytes(4, sys.byteorder))
    return head + told + (attribute(_RTA_PREFSRC, source.packed) if source else b"")


def _ipv6_disabled() -> bool:
    # /proc/sys/net shows the netns of the thread that reads it.
    flag = Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
    try:
        return flag.read_text().strip() != "0"
    except FileNotFoundError:
        return True
