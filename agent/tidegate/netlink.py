"""Links, addresses and routes of the current netns. The only file that imports pyroute2.

Call inside the netns that is meant: see bpf.netns.in_netns.
"""

from __future__ import annotations

import errno
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from tidegate.model.net import IPAddress

_LOOPBACK_INDEX = 1  # the kernel gives every netns its lo as interface 1


def loopback_up() -> None:
    """Bring lo up; runtimes that skip the CNI loopback plugin leave it down."""
    with IPRoute() as netlink:
        netlink.link("set", index=_LOOPBACK_INDEX, state="up")


def add_to_loopback(addresses: tuple[IPAddress, ...]) -> bool:
    """Put addresses (host prefixes) on lo. False if IPv6 is switched off here; raises OSError otherwise."""
    if any(a.version == 6 for a in addresses) and _ipv6_disabled():
        return False
    with IPRoute() as netlink:
        for address in addresses:
            try:
                # nodad: an address on lo has no neighbour to collide with, and a tentative one cannot be listened on
                flags = 0x02 if address.version == 6 else 0
                netlink.addr(
                    "add", index=_LOOPBACK_INDEX, address=str(address), prefixlen=address.max_prefixlen, flags=flags
                )
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise OSError(error.code, f"cannot put {address} on lo") from error
    return True


def remove_from_loopback(addresses: tuple[IPAddress, ...]) -> None:
    """Take addresses off lo; those that are not there are fine."""
    with IPRoute() as netlink:
        for address in addresses:
            try:
                netlink.addr("del", index=_LOOPBACK_INDEX, address=str(address), prefixlen=address.max_prefixlen)
            except NetlinkError as error:
                if error.code not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                    raise OSError(error.code, f"cannot take {address} off lo") from error


def _ipv6_disabled() -> bool:
    # /proc/sys/net shows the netns of the thread that reads it.
    flag = Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
    try:
        return flag.read_text().strip() != "0"
    except FileNotFoundError:
        return True
