"""What dataplane.devices.KernelTables promises: of the kernel's tables and of those in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

import pytest
from tests.bpf.pod import Pod
from tests.support.dataplane import FakeTables

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import PodRow
from tidegate.dataplane.devices import KernelTables
from tidegate.model.plan.kernel import Destination, GuardRow, InboundPort
from tidegate.model.tier import Tier
from tidegate.native import lib

ROW = PodRow(ip4=ip_address("10.0.0.1"), fastpath4=7, envoy4=8)
WEB = Destination(ip_address("10.96.0.6"), 80, Tier.ENVOY, 3)
DB = Destination(ip_address("fd00:96::5"), 5432, Tier.FASTPATH, 4)


@dataclass(frozen=True)
class Case:
    tables: KernelTables
    room: int  # rows of tg_dests


@pytest.fixture(params=["fake", "real"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "fake":
        return Case(FakeTables(room=100), 100)
    open_datapath: Callable[[], Datapath] = request.getfixturevalue("open_datapath")
    return Case(open_datapath(), lib.TG_MAX_DESTS)


def test_they_are_empty_at_first(case: Case) -> None:
    assert (case.tables.pods(), case.tables.destinations(), case.tables.lookups()) == ({}, {}, set())
    assert case.tables.inbound() == set()
    assert case.tables.guard_rows() == set()


def test_inbound_ports_are_set_and_deleted_and_twice_is_once(case: Case) -> None:
    one, other = InboundPort(42, 80, 4), InboundPort(42, 80, 6)
    for port in (one, other, one):
        case.tables.set_inbound(port)
    case.tables.inbound().clear()
    assert case.tables.inbound() == {one, other}
    for port in (one, one):
        case.tables.delete_inbound(port)
    assert case.tables.inbound() == {other}


def test_guards_are_set_and_deleted_and_an_address_is_its_last_owners(case: Case) -> None:
    address = ip_address("10.0.0.1")
    one, probe, callers = GuardRow(42), GuardRow(42, 80), GuardRow(42, address=address)
    for row in (one, probe, callers, one):
        case.tables.set_guard(row)
    assert case.tables.guard_rows() == {one, probe, callers}
    case.tables.set_guard(other := GuardRow(43, address=address))
    assert case.tables.guard_rows() == {one, probe, other}
    for row in (callers, probe, probe):
        case.tables.delete_guard(row)
    assert case.tables.guard_rows() == {one, other}


def test_a_pods_row_is_set_replaced_and_deleted(case: Case) -> None:
    tables = case.tables
    tables.set_pod(42, PodRow())
    tables.set_pod(42, ROW)
    tables.set_pod(43, PodRow())
    assert tables.pods() == {42: ROW, 43: PodRow()}
    tables.delete_pod(42)
    assert tables.pods() == {43: PodRow()}


def test_rows_are_set_replaced_and_deleted_many_at_once(case: Case) -> None:
    tables = case.tables
    tables.set_destinations([WEB, DB])
    tables.set_destinations([Destination(WEB.address, WEB.port, Tier.FASTPATH, 9)])
    assert tables.destinations() == {WEB.key: (Tier.FASTPATH, 9), DB.key: (Tier.FASTPATH, 4)}
    tables.delete_destinations([WEB.key, DB.key])
    assert tables.destinations() == {}


def test_nothing_to_do_is_fine(case: Case) -> None:
    tables = case.tables
    tables.set_destinations([])
    tables.delete_destinations([])


def test_deleting_what_is_not_there_is_fine(case: Case) -> None:
    tables = case.tables
    tables.set_destinations([DB])
    tables.delete_pod(42)
    tables.detach_lookup(42)
    tables.delete_destinations([WEB.key, DB.key])
    assert tables.destinations() == {}


def test_what_is_read_is_a_copy(case: Case) -> None:
    tables = case.tables
    tables.pods()[42] = ROW
    tables.destinations()[WEB.key] = (Tier.ENVOY, 1)
    tables.lookups().add(42)
    assert (tables.pods(), tables.destinations(), tables.lookups()) == ({}, {}, set())


def test_a_full_table_refuses_what_is_new_and_takes_what_is_known(case: Case) -> None:
    tables = case.tables
    first = int(IPv4Address("11.0.0.0"))
    tables.set_destinations(Destination(IPv4Address(first + n), 1, Tier.DIRECT, 0) for n in range(case.room))
    with pytest.raises(OSError, match="tg_dests") as refused:
        tables.set_destinations([WEB])
    assert refused.value.errno == errno.E2BIG
    known = Destination(IPv4Address(first), 1, Tier.ENVOY, 1)
    tables.set_destinations([known])
    assert len(tables.destinations()) == case.room
    assert tables.destinations()[known.key] == (Tier.ENVOY, 1)


def test_guards_are_by_netns_and_twice_is_once(case: Case, make_pod: Callable[[], Pod]) -> None:
    one, other = make_pod(), make_pod()
    for pod in (one, other, one):
        case.tables.attach_lookup(pod.cookie, pod.netns_fd)
    assert case.tables.lookups() == {one.cookie, other.cookie}
    case.tables.detach_lookup(one.cookie)
    assert case.tables.lookups() == {other.cookie}
