"""Client and server on different nodes, each with an agent of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.lab import MANIFESTS, Lab

FAMILIES = ["4", "mapped", "6", "v6only"]
NARROW, USUAL = 1280, 1500  # bytes of a packet between the nodes; pods' own links have the usual ones


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


@contextmanager
def narrow(lab: Lab) -> Iterator[None]:
    """The way between the nodes takes smaller packets than pods believe; nodes tell so, as routers do."""
    for node in ("node1", "node2"):
        lab.tidegate("lab", "node-exec", node, "--", "ip", "link", "set", "eth0", "mtu", str(NARROW))
    try:
        yield
    finally:
        for node in ("node1", "node2"):
            lab.tidegate("lab", "node-exec", node, "--", "ip", "link", "set", "eth0", "mtu", str(USUAL))


def test_a_way_of_smaller_packets_is_found_out_as_without_the_mesh(lab: Lab) -> None:
    """Path MTU discovery (RFC 1191) of the sockets that relay and Envoy have in the pods, in both directions."""
    size = 4 << 20

    def way(pod: str, other: str) -> str:
        return lab.exec(pod, "ip", "route", "get", lab.address(f"default/{other}", "4")).stdout

    with narrow(lab):
        up = lab.probe("client", "upload", "far", "7000", "--size", str(size))
        found_out = [way("client", "far")]
        # It would tell the server in its SYN what it has learned, and the server would have nothing to find out.
        lab.exec("client", "ip", "route", "flush", "cache")
        down = lab.probe("client", "download", "far", "7000", "--size", str(size))
        found_out.append(way("far", "client"))
        got = lab.ask("client", "http://far/", "-H", f"x-long: {'l' * 20000}")
    assert up["server"] == {"bytes": size, "sha256": up["sha256"]}
    assert down == {"bytes": size, "equal": True}
    assert (got["status"], len(got["body"]["headers"]["x-long"])) == (200, 20000), "more than a packet, both ways"
    assert all(f"mtu {NARROW}" in route for route in found_out), found_out
