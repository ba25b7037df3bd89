from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import pytest

from tidegate.enroll.ledger import Ledger
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Attachment, Capture, Sandbox

ETH0: Final = Attachment("eth0", "pods", (ip_address("10.0.0.2"),))
NET1: Final = Attachment("net1", "storage", (ip_address("192.168.0.2"),))
OLD: Final = Attachment("", "", ETH0.ips)  # of an agent that wrote down no interface


def sandbox(name: str = "web", container: str = "c1", cookie: int = 1, by: Attachment = ETH0) -> Sandbox:
    path = f"/run/netns/{container}"
    return Sandbox(WorkloadId("default", name), container, path, cookie, by.ips, attachments=(by,))


def test_a_repeated_add_changes_nothing_and_keeps_the_capture_ports() -> None:
    ledger = Ledger()
    assert ledger.add(sandbox()).before is None
    ledger.update(replace(sandbox(), capture=Capture(fastpath4=4001), v6_capture=True))
    again = ledger.add(sandbox())
    assert (again.before is not None, again.replaced) == (True, ())
    assert (again.sandbox.capture.fastpath4, again.sandbox.v6_capture) == (4001, True)
    assert len(list(ledger)) == 1


def test_a_pod_in_a_new_netns_replaces_its_old_sandbox() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    added = ledger.add(sandbox(container="c2", cookie=2))
    assert [old.container_id for old in added.replaced] == ["c1"]
    assert set(ledger.by_cookie()) == {2}


def test_a_late_del_of_the_old_container_leaves_the_new_sandbox() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(container="c2", cookie=2))
    assert ledger.detach("c1", ETH0) is None
    assert ledger.detach("c2", ETH0) is not None
    assert not list(ledger)


def test_a_netns_that_is_used_again_belongs_to_the_new_pod() -> None:
    ledger = Ledger()
    ledger.add(sandbox("old"))
    added = ledger.add(sandbox("new", container="c2"))
    assert [old.id.name for old in added.replaced] == ["old"]
    assert [s.id.name for s in ledger] == ["new"]


def test_removing_what_is_not_known_is_fine() -> None:
    assert Ledger().remove("c1") is None
    assert Ledger().detach("c1", ETH0) is None


def test_news_about_a_sandbox_that_has_gone_are_dropped() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(container="c2", cookie=2))
    assert not ledger.update(replace(sandbox(), v6_capture=True))
    assert not ledger.update(sandbox("other"))
    assert [s.v6_capture for s in ledger] == [False]


@pytest.mark.case("E1")
def test_a_second_interface_changes_nothing_for_the_first() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    added = ledger.add(sandbox(by=NET1))
    assert (added.replaced, added.sandbox.ips) == ((), ETH0.ips)
    assert added.sandbox.attachments == (ETH0, NET1)
    went = ledger.detach("c1", NET1)
    assert went is not None
    assert went.left == sandbox()
    assert ledger.detach("c1", NET1) is None, "DEL twice is once"
    assert list(ledger) == [sandbox()]


@pytest.mark.case("E1")
def test_what_remains_when_the_first_interface_goes_is_known_by_its_own_address() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(by=NET1))
    went = ledger.detach("c1", ETH0)
    assert went is not None
    assert went.left == sandbox(by=NET1)
    last = ledger.detach("c1", NET1)
    assert last is not None
    assert last.left is None
    assert (list(ledger), ledger.by_cookie()) == ([], {})


@pytest.mark.case("E1")
def test_an_interface_without_addresses_is_not_what_a_pod_is_known_by() -> None:
    ledger = Ledger()
    ledger.add(sandbox(by=Attachment("eth0", "layer2", ())))
    assert ledger.add(sandbox(by=NET1)).sandbox.ips == NET1.ips


@pytest.mark.case("E1")
def test_an_interface_that_comes_again_with_another_address_keeps_its_place() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(by=NET1))
    moved = Attachment("eth0", "pods", (ip_address("10.0.0.9"),))
    added = ledger.add(sandbox(by=moved))
    assert (added.sandbox.attachments, added.sandbox.ips) == ((moved, NET1), moved.ips)


@pytest.mark.case("E1")
def test_a_container_in_a_new_netns_has_none_of_its_old_interfaces() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(by=NET1))
    added = ledger.add(sandbox(cookie=2))
    assert (added.sandbox.attachments, [old.netns_cookie for old in added.replaced]) == ((ETH0,), [1])
    assert ledger.detach("c1", NET1) is None
    assert list(ledger) == [sandbox(cookie=2)]


@pytest.mark.case("E1")
def test_an_interface_that_an_earlier_agent_did_not_write_down_is_known_by_its_address() -> None:
    ledger = Ledger()
    ledger.add(sandbox(by=OLD))
    assert ledger.add(sandbox(by=NET1)).sandbox.attachments == (OLD, NET1)
    assert ledger.detach("c1", Attachment("net2", "", (ip_address("192.168.9.9"),))) is None
    assert ledger.add(sandbox()).sandbox.attachments == (ETH0, NET1), "its ADD is repeated"
    ledger.add(sandbox("old", "c2", 2, OLD))
    last = ledger.detach("c2", Attachment("eth7", "", OLD.ips))
    assert last is not None
    assert last.left is None


@pytest.mark.case("E2")
def test_stale_is_what_is_of_that_network_and_not_listed() -> None:
    ledger = Ledger()
    for name, container, cookie, by in [("a", "c1", 1, ETH0), ("b", "c2", 2, ETH0), ("c", "c3", 3, OLD)]:
        ledger.add(sandbox(name, container, cookie, by))
    ledger.add(sandbox("a", "c1", 1, NET1))
    assert ledger.stale("pods", {("c1", "eth0")}) == (("c2", ETH0),)
    assert ledger.stale("storage", {("c1", "eth0")}) == (("c1", NET1),)
    assert ledger.stale("other", ()) == ()


@pytest.mark.case("E1")
def test_what_could_not_be_recorded_was_never_added() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.undo(ledger.add(sandbox(by=NET1)))
    ledger.undo(ledger.add(sandbox("other", "c2", 1)))
    ledger.undo(ledger.add(sandbox(container="c2", cookie=2)))
    assert list(ledger) == [sandbox()]
    assert ledger.find("c2") is None


@pytest.mark.parametrize("order", list(itertools.permutations([("a", "c1", 1), ("b", "c2", 2), ("c", "c3", 3)])))
def test_order_of_calls_does_not_matter(order: tuple[tuple[str, str, int], ...]) -> None:
    ledger = Ledger()
    for call in order:
        ledger.add(sandbox(*call))
        ledger.add(sandbox(*call))
    ledger.remove("c2")
    assert {s.id.name for s in ledger} == {"a", "c"}
