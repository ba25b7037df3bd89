"""Tables are read whole while others write to them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from tidegate.bpf import walk
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import PodRow
from tidegate.native import lib

ROW = PodRow(ip_address("10.0.0.1"), ip_address("fd00::1"), 1, 2, 3, 4, True)


def test_rows_are_read_while_others_come_and_go(datapath: Datapath) -> None:
    """What an operator asks for is answered also while pods are enrolled."""
    kept, over = {2**32 + i: ROW for i in range(50)}, threading.Event()
    for cookie, row in kept.items():
        datapath.set_pod(cookie, row)

    def come_and_go() -> None:
        while not over.is_set():
            for cookie in range(1, 200):
                datapath.set_pod(cookie, PodRow())
            for cookie in range(1, 200):
                datapath.delete_pod(cookie)

    with ThreadPoolExecutor(1) as threads:
        coming = threads.submit(come_and_go)
        try:
            for _ in range(300):
                found = datapath.pods()
                assert {cookie: found.get(cookie) for cookie in kept} == kept
        finally:
            over.set()
        coming.result()


def test_rows_that_come_between_counting_and_reading_are_read(
    datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than there was room for; beside others that happens when it happens, here it does."""
    count, rows = walk.count, dict.fromkeys(range(1, 4 * walk.SPARE), ROW)

    def then_they_come(fd: int, table: str, limit: int) -> int:
        known = count(fd, table, limit)
        for cookie, row in rows.items():
            datapath.set_pod(cookie, row)
        return known

    monkeypatch.setattr(walk, "count", then_they_come)
    assert datapath.pods() == rows


def test_an_empty_table_has_no_rows(datapath: Datapath) -> None:
    assert walk.count(datapath.flows_fd, "tg_flows", lib.TG_MAX_FLOWS) == 0
    assert walk.rows(datapath.flows_fd, "tg_flows", "struct tg_flow_key", "struct tg_flow", lib.TG_MAX_FLOWS)[2] == 0
