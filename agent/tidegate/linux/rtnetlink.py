"""Messages of rtnetlink and others like it (linux/netlink.h, linux/rtnetlink.h): packed, sent, what the kernel says.

Only what linux.netlink and linux.sock_diag ask for. The peer is the kernel, by the address that it sends from;
everything is bounded by the length that it tells and by that of the datagram.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_CODE = struct.Struct("=i")  # of NLMSG_ERROR and NLMSG_DONE: 0 or a negative errno
ERROR, DONE = 2, 3  # NLMSG_ERROR, which with code 0 acknowledges; NLMSG_DONE, which ends a dump
REQUEST, ACK, DUMP_INTERRUPTED = 0x1, 0x4, 0x10  # NLM_F_*
REPLACE, CREATE, DUMP = 0x100, 0x400, 0x300
_TYPE = 0x3FFF  # NLA_TYPE_MASK
_LARGEST = 1 << 16  # bytes of a datagram of a dump: the kernel makes them of at most 32 KiB
_DATAGRAMS = 100_000  # of one dump: whoever fills a table in there is asked to stop
_ATTEMPTS = 8  # of a dump during which what it lists changed

Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class KernelMessage:
    """One message of the kernel. body: all after struct nlmsghdr."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def attributes(data: bytes) -> Attributes:
    """Attributes by type, of one that comes twice the last. What is cut off is left out."""
    found: Attributes = {}
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= size <= len(data) - start:
            break
        found[kind & _TYPE] = data[start + _ATTRIBUTE.size : start + size]
        start += size + -size % 4
    return found


def messages(datagram: bytes) -> Iterator[KernelMessage]:
    """The messages of a datagram. What is cut off is left out."""
    start = 0
    while start + _HEADER.size <= len(datagram):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, start)
        if not _HEADER.size <= size <= len(datagram) - start:
            break
        yield KernelMessage(kind, flags, sequence, datagram[start + _HEADER.size : start + size])
        start += size + -size % 4


def change(kind: int, flags: int, body: bytes, protocol: int = socket.NETLINK_ROUTE) -> None:
    """Have something done in the netns of this thread. Raises OSError with what the kernel says."""
    with _asked(kind, REQUEST | ACK | flags, body, protocol) as asking:
        for message in _answers(asking):
            if message.kind == ERROR:
                _raise(message)
                return


def dump(kind: int, body: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[bytes]:
    """Bodies of all that the kernel lists for a request. Raises OSError."""
    for _ in range(_ATTEMPTS):
        found, whole = _dump(kind, body, protocol)
        if whole:
            return found
    raise OSError(errno.EAGAIN, "what is listed keeps changing")


def _dump(kind: int, body: bytes, protocol: int) -> tuple[list[bytes], bool]:
    """What is listed, and whether nothing of it changed meanwhile."""
    found: list[bytes] = []
    whole = True
    with _asked(kind, REQUEST | DUMP, body, protocol) as asking:
        for message in _answers(asking):
            whole = whole and not message.flags & DUMP_INTERRUPTED
            if message.kind in (ERROR, DONE):
                _raise(message)
                return found, whole
            found.append(message.body)
    return found, whole


def _asked(kind: int, flags: int, body: bytes, protocol: int) -> socket.socket:
    """A socket of this thread's netns on which the request is under way. The kernel answers before send() returns, or
    while it is read."""
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        asking.bind((0, 0))
        asking.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
    except BaseException:
        asking.close()
        raise
    return asking


def _answers(asking: socket.socket) -> Iterator[KernelMessage]:
    for _ in range(_DATAGRAMS):
        datagram, (port, _groups) = asking.recvfrom(_LARGEST)
        if port == 0:  # the kernel: anybody else in this netns may write to the socket, too
            yield from (message for message in messages(datagram) if message.sequence == 1)
    raise OSError(errno.EOVERFLOW, "the kernel lists without an end")


def _raise(message: KernelMessage) -> None:
    code = -_CODE.unpack_from(message.body)[0] if len(message.body) >= _CODE.size else errno.EBADMSG
    if code:
        raise OSError(code, os.strerror(code))
