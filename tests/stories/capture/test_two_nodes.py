"""Client and server on different nodes, each with an agent of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.support.lab import MANIFESTS, Lab

FAMILIES = ["4", "mapped", "6", "v6only"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("two")
    lab.up(MANIFESTS / "two-nodes.yaml", nodes=2)
    yield lab
    lab.down()


@pytest.mark.parametrize("family", FAMILIES)
def test_tcp_to_the_other_node(lab: Lab, family: str) -> None:
    seen = lab.dial("client", "far", 7000, family)
    assert seen["server"]["client"] == seen["sock"] == lab.address("default/client", family)
    assert seen["server"]["local"] == lab.address("default/far", family)


@pytest.mark.case("C9")
@pytest.mark.parametrize("family", FAMILIES)
def test_http_to_the_other_node(lab: Lab, family: str) -> None:
    got = lab.ask("client", "http://far/", "--family", family)
    assert got["status"] == 200, got
    assert got["body"]["pod"] == "far"
    assert got["body"]["peer"] == lab.address("default/client", "4"), "the server sees the pod, not its node"
    assert got["body"]["headers"].get("x-forwarded-for") == lab.address("default/client", family)


def test_each_node_captures_its_own_pods_only(lab: Lab) -> None:
    assert [[pod["name"] for pod in lab.status(node)["pods"]] for node in (0, 1)] == [["client"], ["far"]]
    assert lab.metric("tidegate_verdicts_total", node=1, reason="redirect_fastpath") == 0


def test_each_agent_lives_on_its_node(lab: Lab) -> None:
    """There its ports are, and there it resolves names of hosts outside the mesh."""
    pids = ["self", *(lab.status(node)["agent"]["pid"] for node in (0, 1))]
    assert len({os.stat(f"/proc/{pid}/ns/net").st_ino for pid in pids}) == 3
