"""Sockets of the node's DNS inside a pod: where questions come in, and those by which they are handed on.

Each address of the loopback to which a question comes stands for a resolver (bpf/core/dns_core.h), so whoever answers
has to do it from there: what arrives is told with its destination, and what leaves with its source.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from tidegate.bpf.resolvers import PORT, ResolverTables
from tidegate.linux.netns import in_netns
from tidegate.model.capture import DNS4, DNS6
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import L4Protocol

BYTES_MAX = 65535  # of a message (RFC 1035 4.2.2)
BACKLOG = 64
IP_PKTINFO = 8  # linux/in.h; Python has no name for it
IPV6_FREEBIND = 78  # linux/in6.h, likewise
_ANCILLARY = socket.CMSG_SPACE(20)  # struct in6_pktinfo, which is the longer one
Sender = tuple[str, int] | tuple[str, int, int, int]


@dataclass(slots=True)
class PodSockets:
    """By version of IP: a UDP socket and a listening TCP socket, none of which waits for anything."""

    udp: dict[int, socket.socket] = field(default_factory=dict)
    tcp: dict[int, socket.socket] = field(default_factory=dict)

    def offer(self, tables: ResolverTables, cookie: int) -> None:
        """From now on the hooks send the pod's questions here. Raises OSError."""
        for protocol, by_version in ((L4Protocol.UDP, self.udp), (L4Protocol.TCP, self.tcp)):
            for version, sock in by_version.items():
                tables.listens(cookie, protocol, version == 6, sock.fileno())

    def close(self) -> None:
        for sock in (*self.udp.values(), *self.tcp.values()):
            sock.close()

    @staticmethod
    def receive(sock: socket.socket) -> tuple[bytes, IPAddress, Sender]:
        """A datagram, the address that it came to, and who sent it. Raises OSError; BlockingIOError: there is none."""
        content, ancillary, _, client = sock.recvmsg(BYTES_MAX, _ANCILLARY)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                return content, IPv4Address(data[8:12]), client
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                return content, IPv6Address(data[:16]), client
        raise OSError("the kernel did not tell where a datagram came to")

    @staticmethod
    def reply(sock: socket.socket, content: bytes, source: IPAddress, client: Sender) -> None:
        """Send a datagram from an address of the pod's loopback. Raises OSError."""
        if source.version == 4:  # struct in_pktinfo: index of the interface, source, destination
            told = (socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + source.packed + bytes(4))
        else:  # struct in6_pktinfo: source, index of the interface
            told = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source.packed + bytes(4))
        sock.sendmsg([content], [told], 0, client)


def open_in_netns(netns_fd: int, *, v6: bool, port: int = 0) -> PodSockets:
    """Open the sockets inside the netns of a descriptor. Raises OSError; nothing is open then."""
    return in_netns(netns_fd, lambda: open_here(v6=v6, port=port))


def open_here(*, v6: bool, port: int) -> PodSockets:
    """The same in the netns of the calling thread.

    port: the number that is ours in the pod: whatever has another keeps the pod's own programs off it on all addresses.
    If somebody has it nevertheless, or it is 0, the kernel finds one that is free.
    """
    made = PodSockets()
    try:
        for address in (DNS4, *((DNS6,) if v6 else ())):
            made.udp[address.version] = _bound(address, socket.SOCK_DGRAM, port)
            made.tcp[address.version] = _bound(address, socket.SOCK_STREAM, port)
            made.tcp[address.version].listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _bound(address: IPAddress, kind: socket.SocketKind, port: int) -> socket.socket:
    """Hooks read the port off the socket, so nobody has to know it."""
    try:
        return _bound_to(address, kind, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not port:
            raise
    return _bound_to(address, kind, 0)


def _bound_to(address: IPAddress, kind: socket.SocketKind, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, kind)
    try:
        sock.setblocking(False)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            if kind == socket.SOCK_DGRAM:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a process before may linger
        sock.bind((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def towards(resolver: IPAddress, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """A socket of the calling thread's netns for one resolver, closed if anything is raised. Each has a port of its own
    that the kernel chose by chance: whoever wants to answer in a resolver's place has to guess it (RFC 5452)."""
    sock = socket.socket(socket.AF_INET if resolver.version == 4 else socket.AF_INET6, kind)
    try:
        sock.setblocking(False)
        yield sock
    except BaseException:
        sock.close()
        raise


def connected(resolver: IPAddress) -> socket.socket:
    """A UDP socket of the calling thread's netns that hears the resolver and nobody else. Raises OSError."""
    with towards(resolver, socket.SOCK_DGRAM) as sock:
        sock.connect((str(resolver), PORT))
        return sock
