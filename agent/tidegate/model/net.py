"""Addresses as the kernel tables want them: 16 bytes in network order, IPv4 as v4-mapped (RFC 4291 2.5.5.2)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

IPAddress = IPv4Address | IPv6Address

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"


def to_wire(address: IPAddress) -> bytes:
    """16 bytes in network order; IPv4 becomes v4-mapped."""
    return _V4_MAPPED + address.packed if address.version == 4 else address.packed


def from_wire(raw: bytes) -> IPAddress:
    """Inverse of to_wire: v4-mapped comes back as IPv4Address. Raises ValueError unless raw is 16 bytes."""
    if len(raw) != 16:
        raise ValueError(f"an address is 16 bytes, not {len(raw)}")
    return IPv4Address(raw[12:]) if raw[:12] == _V4_MAPPED else IPv6Address(raw)


def parse_ip(text: str) -> IPAddress:
    """Read an address; a v4-mapped one is the IPv4 address that it stands for. Raises ValueError."""
    return from_wire(to_wire(ip_address(text)))
