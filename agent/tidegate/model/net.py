"""Addresses as the kernel tables want them: 16 bytes in network order, IPv4 as v4-mapped (RFC 4291 2.5.5.2)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tidegate.errors import Rejected

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

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
    address = ip_address(text)
    return address if address.version == 4 else from_wire(address.packed)


def parse_network(text: str) -> IPNetwork:
    """Read a prefix, or an address, which is one too; bits behind the prefix do not matter. Raises ValueError."""
    network = ip_network(text, strict=False)
    if network.version == 6 and network.prefixlen >= 96 and network.network_address.packed[:12] == _V4_MAPPED:
        return IPv4Network((network.network_address.packed[12:], network.prefixlen - 96))
    return network


def within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Whether each address of the one is of the other."""
    if inner.version != outer.version:
        return False
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def wire_prefix(network: IPNetwork) -> tuple[bytes, int]:
    """As to_wire, with the number of bits of it that count."""
    return to_wire(network.network_address), network.prefixlen + (96 if network.version == 4 else 0)


def host_port(host: str, port: int) -> str:
    """HOST:PORT as it is written in an address bar: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_destination(text: str) -> tuple[str, int | None]:
    """HOST, HOST:PORT, IPv4:PORT, [IPv6]:PORT or IPv6 -> (host, port or None). Raises Rejected."""
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port, colon = rest.removeprefix(":"), ":" if rest.startswith(":") else ""
    elif text.count(":") != 1:
        host, colon, port = text, "", ""
    if not colon:
        host, port = host or text, ""
    wrong = not host or any(c.isspace() or c == "/" for c in host) or (":" in host and not _is_ip(host))
    if wrong or (port and not (port.isdecimal() and 0 < int(port) < 65536)) or (colon and not port):
        raise Rejected(f"destination {text!r}", "is not HOST, IP or HOST:PORT", "write for example reviews:9080")
    return host, int(port) if port else None


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
