"""What is said to the kernel's networking and what is understood of its answers."""

from __future__ import annotations

import errno
import random
import socket
import struct

import pytest

from tidegate.linux import rtnetlink
from tidegate.linux.rtnetlink import KernelMessage, attribute, attributes, messages

GETADDR, NEWLINK = 22, 16
NOBODY = 0x7FFFFFFF  # an interface that there is not


def told(kind: int, body: bytes, sequence: int = 1) -> bytes:
    """A message as the kernel makes it."""
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + padded


def test_attributes_are_padded_and_found_again() -> None:
    data = attribute(1, b"abcde") + attribute(0x8000 | 2, b"") + attribute(3, b"four")
    assert len(data) % 4 == 0
    assert attributes(data) == {1: b"abcde", 2: b"", 3: b"four"}


def test_several_messages_of_one_datagram_are_told_apart() -> None:
    assert list(messages(told(20, b"x") + told(3, b"1234", sequence=7))) == [
        KernelMessage(20, 0, 1, b"x"),
        KernelMessage(3, 0, 7, b"1234"),
    ]


@pytest.mark.parametrize("size", [0, 3, 15, 17, 100, 1 << 31])
def test_a_message_of_a_wrong_length_ends_what_is_understood(size: int) -> None:
    wrong = struct.pack("=IHHII", size, 20, 0, 1, 0)
    assert list(messages(told(3, b"1234") + wrong)) == [KernelMessage(3, 0, 1, b"1234")]


@pytest.mark.parametrize("size", [0, 3, 9, 0xFFFF])
def test_an_attribute_of_a_wrong_length_ends_what_is_understood(size: int) -> None:
    assert attributes(attribute(1, b"1234") + struct.pack("=HH", size, 2) + b"abc") == {1: b"1234"}


def test_any_bytes_are_read_without_an_error_and_within_their_bounds() -> None:
    luck = random.Random(1)
    for _ in range(2000):
        data = bytes(luck.choice((0, 4, 5, 8, 16, 20, 255, luck.randrange(256))) for _ in range(luck.randrange(64)))
        assert sum(len(message.body) + 16 for message in messages(data)) <= len(data)
        assert sum(len(value) for value in attributes(data).values()) <= len(data)


def test_the_kernel_lists_and_refuses() -> None:
    everything = rtnetlink.dump(GETADDR, bytes(8))
    families = {body[0] for body in everything}
    assert families <= {socket.AF_INET, socket.AF_INET6}
    with pytest.raises(OSError, match=r"\[Errno") as refused:
        rtnetlink.change(NEWLINK, 0, struct.pack("=BxHiII", 0, 0, NOBODY, 1, 1))
    assert refused.value.errno in (errno.ENODEV, errno.EPERM)
