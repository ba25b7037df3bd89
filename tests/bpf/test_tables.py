"""Rows come back as they were written, by the dozen thousand too; errors name the table."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import PodRow
from tidegate.model.plan.kernel import Destination
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
    datapath.set_destination(a, 80, Tier.FASTPATH, 1)
    datapath.set_destination(a, 0, Tier.DIRECT, 0)
    datapath.set_destination(b, 443, Tier.ENVOY, 2**32 - 1)
    datapath.set_destination(a, 80, Tier.ENVOY, 3)
    assert datapath.destinations() == {
        (a, 80): (Tier.ENVOY, 3),
        (a, 0): (Tier.DIRECT, 0),
        (b, 443): (Tier.ENVOY, 2**32 - 1),
    }
    datapath.delete_destinations([(a, 80), (b, 443), (b, 444)])
    assert datapath.destinations() == {(a, 0): (Tier.DIRECT, 0)}


def test_many_destinations_at_once(datapath: Datapath) -> None:
    rows = [Destination(ip_address(0x0A600000 + i), 80 + i % 7, Tier.FASTPATH, i) for i in range(20_000)]
    datapath.set_destinations(rows)
    assert datapath.destinations() == {(r.address, r.port): (r.tier, r.service) for r in rows}


def test_full_table_says_so_and_keeps_what_fits(datapath: Datapath) -> None:
    for cookie in range(1, lib.TG_MAX_PODS + 1):
        datapath.set_pod(cookie, PodRow())
    with pytest.raises(OSError, match="tg_pods"):
        datapath.set_pod(lib.TG_MAX_PODS + 1, PodRow())
    assert len(datapath.pods()) == lib.TG_MAX_PODS
