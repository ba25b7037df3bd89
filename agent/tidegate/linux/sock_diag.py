"""TCP sockets of the current netns, as sock_diag(7) lists them, and ending one (linux/inet_diag.h).

Call inside the netns that is meant: see linux.netns.in_netns.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from tidegate.linux import rtnetlink

_PROTOCOL = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY, _DESTROY = 20, 21  # SOCK_DIAG_BY_FAMILY, SOCK_DESTROY
_REQUEST = struct.Struct("=BBBxI")  # struct inet_diag_req_v2 before its id: family, protocol, extensions, states
_ID = struct.Struct("=2s2s16s16sI8s")  # struct inet_diag_sockid: ports and addresses in network order, device, cookie
_MESSAGE = struct.Struct("=BBxx")  # struct inet_diag_msg before its id: family, state
_BEHIND = 20  # bytes of struct inet_diag_msg behind its id
_CGROUP = 21  # INET_DIAG_CGROUP_ID, Linux 5.9
_LISTEN = 10
# ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LISTEN, CLOSING (include/net/tcp_states.h)
_STATES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << _LISTEN | 1 << 11

End = tuple[IPv4Address | IPv6Address, int]


@dataclass(frozen=True, slots=True)
class ListedSocket:
    """One end of a connection. v4-mapped addresses are IPv4's; ports are host order."""

    local: End
    remote: End
    cgroup: int = 0  # id of the group in which it was made, 0 = not known
    family: int = 0  # of the socket, with what the kernel finds it by
    id: bytes = b""


@dataclass(frozen=True, slots=True)
class TcpSockets:
    """What a netns has. listening: ports at which somebody does, at whichever address."""

    listening: frozenset[int]
    connected: tuple[ListedSocket, ...]


def tcp_sockets() -> TcpSockets:
    """All of this netns, of both families. Raises OSError."""
    listening, connected = set(), []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _STATES) + bytes(_ID.size)
        for body in rtnetlink.dump(_BY_FAMILY, request, _PROTOCOL):
            _, state = _MESSAGE.unpack_from(body)
            raw = body[_MESSAGE.size : _MESSAGE.size + _ID.size]
            source_port, port, source, destination, _, _ = _ID.unpack(raw)
            number = int.from_bytes(source_port, "big")
            if state == _LISTEN:
                listening.add(number)
                continue
            told = rtnetlink.attributes(body[_MESSAGE.size + _ID.size + _BEHIND :])
            cgroup = int.from_bytes(told.get(_CGROUP, b""), sys.byteorder)
            ends = (_address(source, family), number), (_address(destination, family), int.from_bytes(port, "big"))
            connected.append(ListedSocket(*ends, cgroup, family, raw))
    return TcpSockets(frozenset(listening), tuple(connected))


def destroy(one: ListedSocket) -> bool:
    """End a socket of this netns: both its ends see a reset. False if it is gone. Raises OSError; EOPNOTSUPP: the
    kernel cannot (CONFIG_INET_DIAG_DESTROY)."""
    request = _REQUEST.pack(one.family, socket.IPPROTO_TCP, 0, _STATES) + one.id
    try:
        rtnetlink.change(_DESTROY, 0, request, _PROTOCOL)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
    return True


def _address(raw: bytes, family: int) -> IPv4Address | IPv6Address:
    if family == socket.AF_INET:
        return IPv4Address(raw[:4])
    address = IPv6Address(raw)
    return ip_address(address.ipv4_mapped or address)
