"""Who may connect to pods: the relay knows before the kernel leads anybody to it, and nobody slips by."""

from __future__ import annotations

from ipaddress import ip_address

from tests.support.configs import ENROLLED, config_of, pod
from tests.support.dataplane import Node, sandbox
from tests.unit.compile.authorization.test_conversion import policy

from tidegate.errors import Rejected
from tidegate.model.mesh import Mesh
from tidegate.model.plan.kernel import GuardRow
from tidegate.model.status import State

ROWS = {GuardRow(42), GuardRow(42, address=ip_address("10.0.0.3"))}
ITEM = "policies of the relay"


def mesh(*, judged: bool = True, rule: str = "rules: [{}]") -> Mesh:
    """A pod, and a policy for it."""
    policies = (policy(rule, "here", "default"),) if judged else ()
    return config_of(ENROLLED, pod("web", "app: web", "10.0.0.3"), *policies)


def server(*, judged: bool = False) -> Node:
    return Node(mesh(judged=judged), sandbox("web", 42, "10.0.0.3"))


async def test_rows_come_after_the_relay_knows_and_callers_first() -> None:
    node = server()
    async with node.running():
        assert node.tables.judged == set(), "nobody says anything of it"
        known = len(node.relay.policies)
        await node.configure(mesh())
        assert node.tables.judged == ROWS
        [told] = node.relay.policies[known:]
        assert [one.key for one in told.policies] == ["default/here"]
        assert (told.workloads, told.names) == ({42: (1,)}, {42: "spiffe://cluster.local/ns/default/sa/default"})
        written = [row for call, row in node.tables.calls if call == "set_guard"]
        assert written == [GuardRow(42, address=ip_address("10.0.0.3")), GuardRow(42)]


async def test_rows_go_when_no_policy_is_for_the_pod() -> None:
    node = server(judged=True)
    async with node.running():
        assert node.tables.judged == ROWS
        await node.configure(mesh(judged=False))
        assert node.relay.policies[-1].workloads == {42: ()}, "the relay lets everybody pass"
        assert node.tables.judged == set()
        removed = [row for call, row in node.tables.calls if call == "delete_guard"]
        assert removed == [GuardRow(42), GuardRow(42, address=ip_address("10.0.0.3"))]


async def test_a_policy_that_changes_is_told_and_no_row_is_touched() -> None:
    node = server(judged=True)
    async with node.running():
        rows = len([call for call, _ in node.tables.calls if call == "set_guard"])
        await node.configure(mesh(rule="action: DENY, rules: [{}]"))
        assert node.relay.policies[-1].policies[0].action.name == "DENY"
        assert len([call for call, _ in node.tables.calls if call == "set_guard"]) == rows


async def test_a_pod_that_goes_takes_its_rows_along() -> None:
    node = server(judged=True)
    async with node.running():
        await node.detach(42)
        assert node.tables.judged == set()


async def test_another_relay_is_told_again() -> None:
    node = server(judged=True)
    async with node.running():
        told = len(node.relay.policies)
        await node.relay.restart()
        await node.calm()
        assert len(node.relay.policies) == told + 1
        assert node.tables.judged == ROWS


async def test_without_a_relay_the_pod_is_closed_and_the_status_says_so() -> None:
    node = server()
    async with node.running():
        await node.relay.process.set(0)
        await node.configure(mesh())
        assert node.tables.judged == ROWS, "nobody gets past it"
        pending = node.status.appliers["policies"].of(State.PENDING)
        assert [one.item for one in pending] == [ITEM]


async def test_what_the_relay_refuses_is_named_and_tried_again() -> None:
    node = server()
    async with node.running():
        node.relay.policies_refusal = Rejected("policies", "are too many")
        await node.configure(mesh())
        [failed] = node.status.appliers["policies"].failures
        assert failed.item == ITEM
        assert node.tables.judged == ROWS, "the relay refuses whom it does not know"
        node.relay.policies_refusal = None
        await node.later(60.0)
        assert not node.status.appliers["policies"].failures
        assert [one.key for one in node.relay.policies[-1].policies] == ["default/here"]


async def test_a_new_pod_whose_rows_are_refused_is_not_captured() -> None:
    node = server(judged=True)
    node.tables.refused = {42}
    async with node.running():
        assert node.tables.rows == {}
        failed = node.status.appliers["guards of pods"].failures
        assert {one.item for one in failed} == {str(row) for row in ROWS}
        node.tables.refused = set()
        await node.later(60.0)
        assert set(node.tables.rows) == {42}
        assert node.tables.judged == ROWS
