"""Root inside a pod, with every capability in its netns: what it can take, and whom it can pretend to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, ROOT, Lab

# Ways to connect that are no connect(2) before a send, or no socket of the process that connects.
WAYS = ("fast open", "mptcp", "deferred fast open", "io_uring", "io_uring, polled", "passed")


def told(lab: Lab, workload: str) -> int:
    """TCP connections that are said to have been this workload's."""
    return int(lab.metric("istio_tcp_connections_closed_total", source_workload=workload))


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[dict[str, Any], str]]:
    """What tests/support/hostile.py achieved in pod client, and that pod's own address."""
    lab = Lab("hostile")
    lab.up(MANIFESTS / "probe.yaml", MANIFESTS / "web.yaml")
    try:
        vip = lab.probe("client", "dial", "talk", "7000")["peer"]
        victim = lab.address("default/server", "4")
        script = ROOT / "tests" / "support" / "hostile.py"
        done = lab.exec("client", "/usr/bin/python3", script, vip, "7000", victim)
        seen = json.loads(done.stdout)
        # One by probe, one each by the ways below and after the flood, and those in the neighbour's name.
        closed = 2 + len(WAYS) + seen["relayed as a neighbour"]
        eventually(lambda: told(lab, "client") + told(lab, "server") >= closed, "all connections were told of")
        seen["named"] = {name: told(lab, name) for name in ("client", "server")}
        seen["never recorded"] = lab.metric("tidegate_verdicts_total", reason="lookup_deny_unrecorded")
        seen["without a record"] = lab.metric("tidegate_fastpath_closed_total", reason="no_record")
        yield seen, lab.address("default/client", "4")
    finally:
        lab.down()


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_to_connect_are_captured_too(attacked: tuple[dict[str, Any], str], way: str) -> None:
    seen, own = attacked
    assert seen[way] == own, "a service address leads nowhere unless the connection was captured"


@pytest.mark.parametrize("way", ["fast open to capture", "mptcp to capture", "io_uring to capture"])
def test_no_way_leads_straight_to_a_capture_address(attacked: tuple[dict[str, Any], str], way: str) -> None:
    assert attacked[0][way] in ("ConnectionRefusedError", "PermissionError")


def test_no_protocol_but_tcp_reaches_a_service(attacked: tuple[dict[str, Any], str]) -> None:
    """Where the kernel has SCTP nothing answers it at an address of the mesh."""
    assert attacked[0]["sctp"] in ("OSError", "ConnectionRefusedError", "TimeoutError")


def test_a_flood_of_syns_is_refused_before_any_listener_and_hinders_nobody(
    attacked: tuple[dict[str, Any], str],
) -> None:
    seen, own = attacked
    assert seen["never recorded"] >= seen["flood"], "each is refused by the kernel program"
    # Connections that were closed before the relay looked at them have no record either.
    assert seen["without a record"] <= seen["relayed as a neighbour"], "the relay has seen none of the flood"
    assert seen["after the flood"] == own


def test_a_pod_cannot_speak_in_its_neighbours_name(attacked: tuple[dict[str, Any], str]) -> None:
    seen, own = attacked
    assert seen["neighbour's address"] == own, "X-Forwarded-For says who is enrolled, not what was bound"


@pytest.mark.case("E6")
def test_what_a_pod_does_under_its_neighbours_address_is_counted_as_its_own(
    attacked: tuple[dict[str, Any], str],
) -> None:
    seen, _ = attacked
    assert seen["named"]["server"] == 0
    assert seen["named"]["client"] >= 2 + len(WAYS) + seen["relayed as a neighbour"]


@pytest.mark.parametrize(
    "way", ["join fastpath", "join fastpath by wildcard", "steal from envoy", "steal from envoy by wildcard"]
)
def test_captured_connections_cannot_be_taken(attacked: tuple[dict[str, Any], str], way: str) -> None:
    assert attacked[0][way] == "EADDRINUSE"
