from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tidegate.enroll.ledger import Ledger
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Capture, Sandbox


def sandbox(name: str = "web", container: str = "c1", cookie: int = 1) -> Sandbox:
    return Sandbox(WorkloadId("default", name), container, f"/run/netns/{container}", cookie, (ip_address("10.0.0.2"),))


def test_a_repeated_add_changes_nothing_and_keeps_the_capture_ports() -> None:
    ledger = Ledger()
    assert not ledger.add(sandbox()).known
    ledger.update(replace(sandbox(), capture=Capture(fastpath4=4001), v6_capture=True))
    again = ledger.add(sandbox())
    assert (again.known, again.replaced) == (True, ())
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
    assert ledger.remove("c1") is None
    assert ledger.remove("c2") is not None
    assert not list(ledger)


def test_a_netns_that_is_used_again_belongs_to_the_new_pod() -> None:
    ledger = Ledger()
    ledger.add(sandbox("old"))
    added = ledger.add(sandbox("new", container="c2"))
    assert [old.id.name for old in added.replaced] == ["old"]
    assert [s.id.name for s in ledger] == ["new"]


def test_removing_what_is_not_known_is_fine() -> None:
    assert Ledger().remove("c1") is None


def test_news_about_a_sandbox_that_has_gone_are_dropped() -> None:
    ledger = Ledger()
    ledger.add(sandbox())
    ledger.add(sandbox(container="c2", cookie=2))
    assert not ledger.update(replace(sandbox(), v6_capture=True))
    assert not ledger.update(sandbox("other"))
    assert [s.v6_capture for s in ledger] == [False]


@pytest.mark.parametrize("order", list(itertools.permutations([("a", "c1", 1), ("b", "c2", 2), ("c", "c3", 3)])))
def test_order_of_calls_does_not_matter(order: tuple[tuple[str, str, int], ...]) -> None:
    ledger = Ledger()
    for call in order:
        ledger.add(sandbox(*call))
        ledger.add(sandbox(*call))
    ledger.remove("c2")
    assert {s.id.name for s in ledger} == {"a", "c"}
