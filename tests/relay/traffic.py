"""Long streams through a relayed connection, checked byte for byte without keeping them."""

from __future__ import annotations

import asyncio
import random
import socket
import zlib

BLOCK = 1 << 20
_PATTERN = random.Random(7).randbytes(BLOCK)


def block(number: int) -> memoryview:
    """The number-th MiB of every stream: a rotation, so that lost, repeated and swapped bytes all show."""
    turn = number * 4099 % BLOCK
    return memoryview(_PATTERN[turn:] + _PATTERN[:turn])


async def send_stream(sock: socket.socket, size: int) -> int:
    """Send size bytes, then FIN. Returns their checksum."""
    loop = asyncio.get_running_loop()
    checksum, sent = 0, 0
    while sent < size:
        piece = block(sent // BLOCK)[: size - sent]
        await loop.sock_sendall(sock, piece)
        checksum = zlib.crc32(piece, checksum)
        sent += len(piece)
    sock.shutdown(socket.SHUT_WR)
    return checksum


async def receive_stream(sock: socket.socket, pause_every: int = 0) -> tuple[int, int]:
    """Read to FIN: (bytes, checksum). A slow reader takes small pieces and rests after each pause_every bytes."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(16384 if pause_every else BLOCK)
    view = memoryview(buffer)
    checksum = total = rested = 0
    while count := await loop.sock_recv_into(sock, buffer):
        checksum = zlib.crc32(view[:count], checksum)
        total += count
        if pause_every and total - rested >= pause_every:
            rested = total
            await asyncio.sleep(0.005)  # being slow is what this reader is for
    return total, checksum


async def exchange(left: socket.socket, right: socket.socket, size: int, pause_every: int = 0) -> None:
    """Both ways at once, FIN both ways; asserts that each end got what the other sent."""
    to_right, to_left, at_right, at_left = await asyncio.gather(
        send_stream(left, size),
        send_stream(right, size),
        receive_stream(right, pause_every),
        receive_stream(left, pause_every),
    )
    assert at_right == (size, to_right)
    assert at_left == (size, to_left)
