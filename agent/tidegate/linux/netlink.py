"""Links, addresses and routes of the current netns. The only file that imports pyroute2.

Call inside the netns that is meant: see bpf.netns.in_netns.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv6Network
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

_LOOPBACK_INDEX = 1  # the kernel gives every netns its lo as interface 1
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL


def loopback_up() -> None:
    """Bring lo up; runtimes that skip the CNI loopback plugin leave it down."""
    with IPRoute() as netlink:
        netlink.link("set", index=_LOOPBACK_INDEX, state="up")


def add_to_loopback(prefix: IPv6Network) -> bool:
    """Make a whole prefix local to this netns, through lo and without an address that applications could find there.

    A listener needs IPV6_FREEBIND. False if IPv6 is switched off here; raises OSError if the kernel refuses.

    Sockets that are not bound connect from ::1. With net.ipv4.tcp_tw_reuse = 2, the kernel's default, a port in
    TIME_WAIT may be used again after a second if one end is loopback; without, clients of a pod that close first would
    find about 470 ports per second for all that they connect to (28 232 ports, 60 s).
    """
    if _ipv6_disabled():
        return False
    with IPRoute() as netlink:
        try:
            _change_route(netlink, "replace", prefix, prefsrc="::1")
        except NetlinkError as error:
            raise OSError(error.code, f"cannot route {prefix} to lo from ::1") from error
    return True


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
