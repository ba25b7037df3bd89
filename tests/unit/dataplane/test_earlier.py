"""Connections of before a pod's policies: those that are denied now are ended, and no other is touched."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from tests.support.configs import ENROLLED, config_of, pod
from tests.support.dataplane import Node, sandbox
from tests.unit.compile.authorization.test_conversion import policy

from tidegate.linux.sock_diag import ListedSocket, TcpSockets
from tidegate.model.mesh import Mesh
from tidegate.model.status import Outcome

WEB, CLIENT, ELSEWHERE = (ip_address(f"10.0.0.{n}") for n in (3, 4, 9))
BY_CLIENT = "rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/default]}}]}]"
KNOWN = ListedSocket((WEB, 80), (CLIENT, 5000))  # by the client's socket, which is in its namespace
STRANGER = ListedSocket((WEB, 80), (ELSEWHERE, 5000))
BORROWED = ListedSocket((WEB, 80), (CLIENT, 6000))  # the client's address, and no socket of it
OUTGOING = ListedSocket((WEB, 41000), (ELSEWHERE, 80))
OWN = ListedSocket((WEB, 80), (WEB, 41001))
OF_THE_RELAY = ListedSocket((WEB, 80), (ELSEWHERE, 7000), cgroup=77)  # Node.relay_cgroup


def mesh(rule: str = "") -> Mesh:
    """A server and a client, and perhaps a policy for the former."""
    policies = (policy(f"selector: {{matchLabels: {{app: web}}}}, {rule}", "here", "default"),) if rule else ()
    return config_of(ENROLLED, pod("web", "app: web", str(WEB)), pod("client", "app: client", str(CLIENT)), *policies)


@pytest.fixture
def node() -> Node:
    node = Node(mesh(), sandbox("web", 42, str(WEB)), sandbox("client", 43, str(CLIENT)))
    connected = (KNOWN, STRANGER, BORROWED, OUTGOING, OWN, OF_THE_RELAY)
    node.inside.sockets[42] = TcpSockets(frozenset({80}), connected)
    node.inside.sockets[43] = TcpSockets(frozenset(), (ListedSocket(KNOWN.remote, KNOWN.local),))
    return node


async def test_those_that_the_first_policy_denies_are_ended(node: Node) -> None:
    async with node.running():
        await node.configure(mesh(BY_CLIENT))
        assert node.inside.cut == [(42, STRANGER), (42, BORROWED)]


async def test_they_are_judged_again_when_policies_change_and_only_then(node: Node) -> None:
    async with node.running():
        await node.configure(mesh("action: AUDIT, rules: [{}]"))
        assert node.inside.cut == []
        await node.configure(mesh("action: DENY, rules: [{}]"))
        assert node.inside.cut == [(42, KNOWN), (42, STRANGER), (42, BORROWED)]
        await node.later(600.0)
        assert len(node.inside.cut) == 3


async def test_a_kernel_that_cannot_is_named(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    async with node.running():
        node.inside.broken.add(42)
        await node.configure(mesh(BY_CLIENT))
        failed: tuple[Outcome, ...] = node.status.appliers["guards of pods"].failures
        assert [one.item for one in failed] == ["netns 42"]
        assert "Operation not supported" in failed[0].reason
        await node.configure(mesh())
        assert node.status.appliers["guards of pods"].failures == ()


async def test_what_was_ended_is_logged(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    async with node.running():
        await node.configure(mesh(BY_CLIENT))
    lines = [record.getMessage() for record in caplog.records if record.name == "tidegate.policy"]
    assert lines[0].startswith(f"deny_late: policy=- src={ELSEWHERE}:5000 (no identity) dst={WEB}:80 (default/web)")
