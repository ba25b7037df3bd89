"""Links, addresses and routes of the current netns, and news of their changes. The only file that imports pyroute2.

Call inside the netns that is meant: see linux.netns.in_netns.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

_LOOPBACK_INDEX = 1  # the kernel gives every netns its lo as interface 1
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL
# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE. Switching IPv6 on or off
# shows as an address of lo that comes or goes; a route that is flushed shows as itself.
_CHANGES = 0x1 | 0x10 | 0x100 | 0x400
_EVENT_BYTES = 4096  # of a netns' queue: what does not fit is told as "something was lost", which is all that is needed


def loopback_up() -> None:
    """Bring lo up; runtimes that skip the CNI loopback plugin leave it down."""
    with IPRoute() as netlink:
        netlink.link("set", index=_LOOPBACK_INDEX, state="up")


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 at all; it may be switched off in a netns all the same, for a while."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).close()
    except OSError:
        return False
    return True


def addresses() -> frozenset[IPv4Address | IPv6Address]:
    """What interfaces other than lo have, but for IPv6's link-local ones. Raises OSError."""
    with IPRoute() as netlink:
        try:
            dumped = netlink.get_addr()
        except NetlinkError as error:
            raise OSError(error.code, "cannot list addresses") from error
        found = {
            ip_address(text)
            for message in dumped
            if message["index"] != _LOOPBACK_INDEX
            # Of a point-to-point interface IFA_ADDRESS is the other end.
            and (text := message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        }
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
    with IPRoute() as netlink:
        try:
            if not _routed(netlink, prefix):
                _change_route(netlink, "replace", prefix, prefsrc="::1")
        except NetlinkError as error:
            raise OSError(error.code, f"cannot route {prefix} to lo from ::1") from error
    return True


def _routed(netlink: IPRoute, prefix: IPv6Network) -> bool:
    routes = netlink.get_routes(family=socket.AF_INET6, table=_LOCAL_TABLE, oif=_LOOPBACK_INDEX)
    wanted = (str(prefix.network_address), prefix.prefixlen, "::1")
    return any(wanted == (r.get_attr("RTA_DST"), r["dst_len"], r.get_attr("RTA_PREFSRC")) for r in routes)


def remove_from_loopback(prefix: IPv6Network) -> None:
    """Undo add_to_loopback; a route that is not there is fine."""
    with IPRoute() as netlink:
        try:
            _change_route(netlink, "del", prefix)
        except NetlinkError as error:
            if error.code not in (errno.ESRCH, errno.ENODEV):
                raise OSError(error.code, f"cannot remove the route of {prefix} to lo") from error


def _change_route(netlink: IPRoute, command: str, prefix: IPv6Network, **more: str) -> None:
    netlink.route(
        command, family=socket.AF_INET6, dst=str(prefix), oif=_LOOPBACK_INDEX, table=_LOCAL_TABLE, type="local", **more
    )


def _ipv6_disabled() -> bool:
    # /proc/sys/net shows the netns of the thread that reads it.
    flag = Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
    try:
        return flag.read_text().strip() != "0"
    except FileNotFoundError:
        return True
