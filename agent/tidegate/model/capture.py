"""Capture addresses, spelled as in bpf/include/tg_capture.h; tests/bpf/test_abi.py compares the two."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

CAPTURE4_PREFIX = IPv4Network("127.77.0.0/24")
CAPTURE4_FASTPATH = IPv4Address("127.77.0.1")
CAPTURE4_ENVOY = IPv4Address("127.77.0.2")
CAPTURE6_PREFIX = IPv6Network("fd74:6964:6567:6174::/64")
CAPTURE6_FASTPATH = IPv6Address("fd74:6964:6567:6174::1")
CAPTURE6_ENVOY = IPv6Address("fd74:6964:6567:6174::2")
