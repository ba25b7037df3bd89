"""Where our listeners in a pod are: out of the way of what listens there."""

from __future__ import annotations

from itertools import islice

import pytest

from tidegate.dataplane.capture import LOWEST_PORT, TOP_PORT, ports_to_try

pytestmark = pytest.mark.case("B10")


def test_ports_that_the_kernel_gives_to_clients_come_last() -> None:
    ports = list(ports_to_try(32768, 60999, ()))
    assert ports[0] == TOP_PORT
    outside = ports[: len(ports) - (60999 - 32768 + 1)]
    assert not [p for p in outside if 32768 <= p <= 60999]
    assert ports[len(outside) - 1] == LOWEST_PORT
    assert sorted(ports) == list(range(LOWEST_PORT, TOP_PORT + 1))


def test_ports_that_the_pod_declares_are_left_to_it() -> None:
    assert list(islice(ports_to_try(32768, 60999, {TOP_PORT, TOP_PORT - 2}), 2)) == [TOP_PORT - 1, TOP_PORT - 3]


@pytest.mark.parametrize(("lowest", "highest"), [(1024, 65535), (1, 65535), (10000, 65535), (1024, 2000)])
def test_any_range_leaves_us_something(lowest: int, highest: int) -> None:
    ports = list(ports_to_try(lowest, highest, ()))
    assert len(ports) == len(set(ports)) == TOP_PORT - LOWEST_PORT + 1


def test_only_the_ports_that_are_tried_are_made() -> None:
    """A pod's first is nearly always free: making all 64 thousand took 2 ms of each CNI ADD, and a start's as often."""
    beyond = 10**15
    assert next(ports_to_try(beyond, beyond, ())) == beyond - 1
