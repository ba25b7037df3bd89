"""A pod that changes inside after it was enrolled: it is looked at again, and what cannot be put right is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.support.configs import ENROLLED, config_of, pod
from tests.support.dataplane import Node, sandbox

from tidegate.dataplane import watching
from tidegate.dataplane.capture import Seen
from tidegate.model.mesh import Mesh
from tidegate.model.status import PodState
from tidegate.model.workload import Attachment, Capture, Sandbox

OFF = Seen(v6_capture=False)
OWN = ip_address("10.0.0.2")


def config() -> Mesh:
    return config_of(ENROLLED, pod("a", "app: a"))


def attached() -> Sandbox:
    return replace(sandbox("a", 42, str(OWN)), attachments=(Attachment("eth0", "pods", (OWN,)),))


def looks(node: Node) -> int:
    return node.inside.prepared.count(42)


async def told(node: Node, seen: Seen) -> None:
    """Until the pod was looked at again, and what follows from that is done."""
    before = looks(node)
    node.inside.change(42, seen)
    await node.looked(42, before + 1)
    await node.later(watching.LONGEST_SECONDS)


def reason(node: Node) -> str:
    status = node.pod("a")
    assert status is not None
    assert status.state is PodState.ENROLLED
    return status.reason


@pytest.mark.case("E8")
async def test_ipv6_that_is_switched_on_after_enrolment_is_captured() -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2"))
    node.inside.seen[42] = OFF
    async with node.running():
        row = node.tables.rows[42]
        assert (row.v6_capture, 0 in (row.fastpath6, row.envoy6)) == (False, False), "what it needs is open already"
        await told(node, Seen())
        assert node.tables.rows[42] == replace(row, v6_capture=True)
        assert node.relay.added == [42], "the relay's listeners, and with them its connections, are left alone"
        assert node.inside.remembered[42].v6_capture, "the next agent knows"
        await told(node, OFF)
        assert node.tables.rows[42] == row


@pytest.mark.case("E8")
async def test_ipv6_that_works_but_on_lo_is_told() -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2"))
    async with node.running():
        quiet = reason(node)
        await told(node, Seen(v6_capture=False, addresses=frozenset({OWN, ip_address("fd00::7")})))
        assert "IPv6 is switched off on its lo (net.ipv6.conf.lo.disable_ipv6)" in reason(node)
        await told(node, Seen())
        assert reason(node) == quiet


@pytest.mark.case("E8")
async def test_a_pod_whose_listeners_an_earlier_agent_opened_without_ipv6_is_told() -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2", capture=Capture(4001, 0, 4002, 0)))
    node.relay.listening[42] = (4001, 0)
    async with node.running():
        assert "create the pod anew" in reason(node)
        assert node.relay.added == []


@pytest.mark.case("E1")
async def test_an_address_that_is_gone_is_told_and_none_from_inside_is_believed() -> None:
    """Who may change addresses inside could take a neighbour's: only CNI says what a pod's address is."""
    node = Node(config(), attached())
    node.inside.seen[42] = Seen(addresses=frozenset({OWN}))
    async with node.running():
        quiet = reason(node)
        await told(node, Seen(addresses=frozenset({ip_address("10.0.0.99")})))
        assert "10.0.0.2, which CNI gave eth0, is on no interface any more" in reason(node)
        assert node.tables.rows[42].ip4 == OWN
        moved = ip_address("10.0.0.99")
        node.sandboxes = [replace(attached(), ips=(moved,), attachments=(Attachment("eth0", "pods", (moved,)),))]
        node.cycle.set_sandboxes(node.sandboxes)  # CNI ADD again
        await node.calm()
        assert node.tables.rows[42].ip4 == moved
        await told(node, Seen(addresses=frozenset({moved})))
        assert reason(node) == quiet


@pytest.mark.case("E8")
async def test_a_pod_that_never_comes_to_rest_is_looked_at_ever_more_rarely() -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2"))
    async with node.running():
        pauses = []
        for number in range(2, 7):  # the first was when it was opened
            for _ in range(3):  # is heard as one
                node.inside.change(42, Seen())
            await node.looked(42, number)
            assert looks(node) == number
            pauses.append(node.clock.waiting()[0])
            await node.later(pauses[-1])
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
        await node.later(watching.CALM_SECONDS)
        await told(node, Seen())
        node.inside.change(42, Seen())
        await node.looked(42, looks(node) + 1)
        assert node.clock.waiting()[0] == watching.FIRST_SECONDS, "after a calm while it is heard at once again"


async def test_a_pod_that_left_is_watched_no_more() -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2"))
    async with node.running():
        await node.detach(42)
        await node.calm()
        before = looks(node)
        with pytest.raises(ConnectionRefusedError):
            node.inside.change(42, Seen())
        assert looks(node) == before


async def test_a_look_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    node = Node(config(), sandbox("a", 42, "10.0.0.2"))
    async with node.running():
        row = node.tables.rows[42]
        node.inside.broken.add(42)
        await told(node, OFF)
        assert node.tables.rows[42] == row
        assert "cannot be looked into" in caplog.text
        node.inside.broken.clear()
        await told(node, OFF)
        assert not node.tables.rows[42].v6_capture
