"""Capture addresses, spelled as in bpf/include/tg_capture.h; tests/bpf/test_abi.py compares the two."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tidegate.model.net import IPAddress, IPNetwork, to_wire, within
from tidegate.model.tier import Tier

RANGE_CLIENT_PORT = 1  # tg_abi.h, enum tg_range: what Envoy sees as the client's port
CAPTURE4_PREFIX = IPv4Network("127.77.0.0/16")
CAPTURE4_FASTPATH = IPv4Address("127.77.0.1")
CAPTURE4_ENVOY = IPv4Address("127.77.0.2")
CAPTURE4_INBOUND = IPv4Address("127.77.0.0")
CAPTURE6_PREFIX = IPv6Network("fd74:6964:6567:6174::/64")
CAPTURE6_FASTPATH = IPv6Address("fd74:6964:6567:6174::1")
CAPTURE6_ENVOY = IPv6Address("fd74:6964:6567:6174::2")
CAPTURE6_INBOUND = IPv6Address("fd74:6964:6567:6174::4")

DNS4_PREFIX = IPv4Network("127.78.0.0/16")
DNS4 = IPv4Address("127.78.1.1")
DNS6 = IPv6Address("fd74:6964:6567:6174::3")
DNS_HALF = 5  # enum tg_dns_limit, as is the port
DNS_PORT = 53


def is_pods_own(where: IPAddress | IPNetwork) -> bool:
    """Whether an address, or all of a prefix, means something else in each pod, so that no object can have it."""
    own = where.is_loopback or where.is_unspecified or where.is_multicast
    return own or within(IPv6Network(where), CAPTURE6_PREFIX) if where.version == 6 else own


def destination_hash(address: IPAddress, port: int) -> int:
    """A destination as a number of 32 bits: tg_addr_hash() of bpf/core/addr_core.h."""
    value, wire = 0x811C9DC5, to_wire(address)
    for at in range(0, 16, 4):
        value = (value ^ int.from_bytes(wire[at : at + 4], "big")) * 0x01000193 & 0xFFFFFFFF
    value = (value ^ port) * 0x9E3779B1 & 0xFFFFFFFF
    value = (value ^ value >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    return value ^ value >> 13


def capture_address(tier: Tier, address: IPAddress, port: int) -> IPAddress:
    """Where connections to a destination go: an address of its own among the tier's."""
    value = destination_hash(address, port)
    if address.version == 4:
        host = value >> 17
        host = (host + 3 if host < 3 else host) | (0x8000 if tier is Tier.ENVOY else 0)
        return CAPTURE4_PREFIX[host]
    return CAPTURE6_PREFIX[tier << 32 | (value >> 8 or 1)]


def spread_of(address: IPAddress) -> int:
    """What tells a tier's capture addresses of one family apart; 0 for the listener's own."""
    if address.version == 4:
        host = int(address) & 0xFFFF
        return host if host > 2 else 0
    return int(address) & 0xFFFFFF if int(address) >> 32 & 0xFFFFFFFF else 0


def slot_address(slot: int, version: int) -> IPAddress:
    """By which address of a pod's loopback the node's DNS knows the resolver of a slot; slots count from 0."""
    return DNS4_PREFIX[slot + 1] if version == 4 else CAPTURE6_PREFIX[DNS_HALF << 32 | slot + 1]


def slot_of(address: IPAddress, slots: int) -> int | None:
    """Inverse of slot_address; None for what is no slot's. slots: how many there are."""
    host = int(address) & (0xFFFF if address.version == 4 else 0xFFFFFFFF)
    known = 0 < host <= slots and address == slot_address(host - 1, address.version)
    return host - 1 if known else None
