"""Rows go into the kernel's layout and come back; ports change their byte order on the way."""

from __future__ import annotations

from ipaddress import ip_address
from socket import htons

import pytest

from tidegate.bpf.records import FlowKey, PodRow, decode_pod, encode_pod, flow_key
from tidegate.model.tier import Tier


@pytest.mark.parametrize(
    "row",
    [
        PodRow(),
        PodRow(ip4=ip_address("10.0.0.1"), fastpath4=15001, envoy4=65535),
        PodRow(ip_address("10.0.0.1"), ip_address("fd00::1"), 1, 2, 3, 4, True),
    ],
)
def test_pod_row_round_trip(row: PodRow) -> None:
    assert decode_pod(encode_pod(row)) == row


def test_network_order_and_v4_mapped() -> None:
    raw = encode_pod(PodRow(ip4=ip_address("10.1.2.3"), envoy6=0x1234))
    assert bytes(raw.ip4.ip) == bytes(10) + b"\xff\xff\x0a\x01\x02\x03"
    assert raw.envoy6_be == htons(0x1234)


def test_flow_key_is_a_whole_connection() -> None:
    raw = flow_key(FlowKey(2**60, ip_address("127.0.0.1"), 40000, 15001, Tier.ENVOY))
    assert (raw.netns_cookie, raw.src_port_be, raw.listener_port_be) == (2**60, htons(40000), htons(15001))
    assert raw.tier == 3
