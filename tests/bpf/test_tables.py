"""Rows come back as they were written, by the dozen thousand too; errors name the table."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import PodRow
from tidegate.model.plan.kernel import ANYWHERE, Destination, DestinationKey, L4Protocol
from tidegate.model.tier import Tier
from tidegate.native import lib

ROWS = [
    PodRow(),
    PodRow(ip4=ip_address("10.0.0.1"), fastpath4=1, envoy4=65535),
    PodRow(ip_address("10.0.0.1"), ip_address("fd00::1"), 1, 2, 3, 4, True),
]


@pytest.mark.parametrize("row", ROWS)
def test_pod_rows(datapath: Datapath, row: PodRow) -> None:
    datapath.set_pod(2**63 + 5, row)
    assert datapath.pods() == {2**63 + 5: row}
    datapath.delete_pod(2**63 + 5)
    datapath.delete_pod(2**63 + 5)
    assert datapath.pods() == {}


def test_destination_rows(datapath: Datapath) -> None:
    a, b = ip_address("10.96.0.1"), ip_address("fd00::96")
    rows = [
        Destination(a, 80, Tier.FASTPATH, 1),
        Destination(a, 0, Tier.DIRECT, 0),
        Destination(b, 443, Tier.ENVOY, 2**32 - 1),
        Destination(a, 80, Tier.DIRECT, 4, L4Protocol.UDP),
    ]
    datapath.set_destinations(rows)
    datapath.set_destinations([Destination(a, 80, Tier.ENVOY, 3)])
    assert datapath.destinations() == {
        DestinationKey(a, 80): (Tier.ENVOY, 3),
        DestinationKey(a, 0): (Tier.DIRECT, 0),
        DestinationKey(b, 443): (Tier.ENVOY, 2**32 - 1),
        DestinationKey(a, 80, L4Protocol.UDP): (Tier.DIRECT, 4),
    }
    datapath.delete_destinations([DestinationKey(a, 80), DestinationKey(b, 443)])
    assert datapath.destinations().keys() == {DestinationKey(a, 0), DestinationKey(a, 80, L4Protocol.UDP)}


def test_rows_of_ranges_are_beside_those_of_addresses(datapath: Datapath) -> None:
    net4, net6 = ip_address("10.64.0.0"), ip_address("2001:db8::")
    rows = [
        Destination(net4, 80, Tier.FASTPATH, 1),
        Destination(net4, 80, Tier.FASTPATH, 2, bits=96 + 10),
        Destination(net4, 80, Tier.ENVOY, 3, bits=96 + 16, scope=7),
        Destination(net6, 80, Tier.ENVOY, 4, bits=32),
        Destination(ANYWHERE, 80, Tier.ENVOY, 5, bits=0),
        Destination(ANYWHERE, 80, Tier.ENVOY, 6, scope=7),
    ]
    datapath.set_destinations(rows)
    assert datapath.destinations() == {row.key: (row.tier, row.service) for row in rows}
    datapath.delete_destinations([rows[1].key, rows[4].key, replace(rows[1], port=81).key])
    assert datapath.destinations().keys() == {rows[n].key for n in (0, 2, 3, 5)}
    datapath.delete_destinations([row.key for row in rows])
    assert datapath.destinations() == {}


@pytest.mark.parametrize("absent", [0, 1, 1023, 1024, 2499], ids=lambda at: f"row {at} is not there")
def test_many_destinations_at_once(datapath: Datapath, absent: int) -> None:
    rows = [Destination(ip_address(0x0A600000 + i), 80 + i % 7, Tier.FASTPATH, i) for i in range(2500)]
    datapath.set_destinations(rows)
    assert datapath.destinations() == {r.key: (r.tier, r.service) for r in rows}
    datapath.delete_destinations([rows[absent].key])
    datapath.delete_destinations([r.key for r in rows])
    assert datapath.destinations() == {}
    datapath.delete_destinations([])


def test_full_table_says_so_and_keeps_what_fits(datapath: Datapath) -> None:
    for cookie in range(1, lib.TG_MAX_PODS + 1):
        datapath.set_pod(cookie, PodRow())
    with pytest.raises(OSError, match="tg_pods"):
        datapath.set_pod(lib.TG_MAX_PODS + 1, PodRow())
    assert len(datapath.pods()) == lib.TG_MAX_PODS
