"""First messages of TLS clients: a real library's own, and cut, bent and broken ones."""

from __future__ import annotations

import ssl
from contextlib import suppress

NAME = "b.example.com"


def _number(value: int, size: int = 2) -> bytes:
    return value.to_bytes(size, "big")


def client_hello(name: str | None = NAME, *, tls13: bool = True) -> bytes:
    """What OpenSSL says first to a server of that name; None: without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if not tls13:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same message in records of so many bytes each (RFC 8446, 5.1)."""
    message = hello[5:]
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + _number(len(part)) + part for part in parts)


def made_hello(*extensions: tuple[int, bytes]) -> bytes:
    """A message of our own with these extensions and no other."""
    body = b"".join(_number(kind) + _number(len(data)) + data for kind, data in extensions)
    inner = b"\x03\x03" + bytes(range(32)) + b"\0" + b"\x00\x02\x13\x01" + b"\x01\x00" + _number(len(body)) + body
    message = b"\x01" + _number(len(inner), 3) + inner
    return b"\x16\x03\x01" + _number(len(message)) + message


def server_name(name: bytes, kind: int = 0) -> tuple[int, bytes]:
    """The extension of RFC 6066, 3."""
    entry = _number(kind, 1) + _number(len(name)) + name
    return 0, _number(len(entry)) + entry


ECH = (0xFE0D, b"\0" + b"\0\x01\0\x01" + b"\x07" + b"\0\x04abcd" + b"\0\x20" + bytes(32))  # RFC 9849, outer
