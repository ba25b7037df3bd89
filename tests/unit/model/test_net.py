from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from tidegate.model.net import from_wire, host_port, parse_ip, split_destination, to_wire


@pytest.mark.parametrize("address", [IPv4Address("10.1.2.3"), IPv6Address("fd00::1"), IPv6Address("::")])
def test_wire_form_goes_there_and_back(address: IPv4Address | IPv6Address) -> None:
    assert from_wire(to_wire(address)) == address


def test_ipv4_is_v4_mapped_on_the_wire() -> None:
    assert to_wire(IPv4Address("127.77.0.1")) == bytes.fromhex("00000000000000000000ffff7f4d0001")


def test_a_mapped_address_is_the_address_it_stands_for() -> None:
    assert parse_ip("::ffff:10.0.0.1") == IPv4Address("10.0.0.1")


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 4"):
        from_wire(b"1234")


@pytest.mark.parametrize("host", ["10.1.2.3", "fd00::a", "reviews"])
def test_host_and_port_written_are_read_again(host: str) -> None:
    assert split_destination(host_port(host, 80)) == (host, 80)
