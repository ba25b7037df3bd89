"""A node with hundreds of pods: what a call costs is counted, in what is asked of the kernel and in pods looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, sandbox

from tidegate.dataplane.appliers import enrolment
from tidegate.dataplane.cycle import RESYNC_SECONDS
from tidegate.model.plan.pods import PodPlan
from tidegate.model.status import PodState
from tidegate.model.workload import Sandbox

PODS = 250
DUMPS = ("pods", "destinations", "inbound", "guard_rows", "lookups")
NEW = sandbox("new", 9, "10.1.0.9")


def node() -> Node:
    pods = [pod(f"p{number}", f"app: p{number}") for number in range(PODS)]
    services = [service("web", "http:80", ips="10.96.0.6"), service("db", "tcp:5432", ips="10.96.0.7")]
    known = [sandbox(f"p{number}", 100 + number, f"10.0.0.{number + 1}") for number in range(PODS)]
    return Node(config_of(ENROLLED, *services, *pods, pod("new", "app: new")), *known)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pods whose row was worked out."""
    names: list[str] = []
    right: Callable[[Sandbox, PodPlan], object] = enrolment.pod_row

    def counted(of: Sandbox, plan: PodPlan) -> object:
        names.append(of.id.name)
        return right(of, plan)

    monkeypatch.setattr(enrolment, "pod_row", counted)
    return names


@pytest.mark.case("E5")
async def test_an_add_among_hundreds_of_pods_costs_that_pod(judged: list[str]) -> None:
    busy = node()
    async with busy.running():
        assert busy.tables.count("set_pod") == PODS
        assert [busy.tables.count(dump) for dump in DUMPS] == [1] * len(DUMPS), "read once, when the agent started"
        busy.tables.calls.clear()
        judged.clear()
        await busy.attach(NEW)
        assert busy.pod("new").state is PodState.ENROLLED  # type: ignore[union-attr]
        assert [call for call, _ in busy.tables.calls] == ["set_destinations", "attach_lookup", "set_pod"]
        assert judged == ["new"]


@pytest.mark.case("E5")
async def test_a_del_among_hundreds_of_pods_costs_that_pod(judged: list[str]) -> None:
    busy = node()
    async with busy.running():
        await busy.attach(NEW)
        busy.tables.calls.clear()
        judged.clear()
        await busy.detach(NEW.netns_cookie)
        await busy.calm()
        assert [call for call, _ in busy.tables.calls] == ["delete_pod", "detach_lookup", "delete_destinations"]
        assert judged == []


@pytest.mark.case("E5")
async def test_a_pass_without_news_asks_the_kernel_nothing_and_looks_at_no_pod(judged: list[str]) -> None:
    busy = node()
    async with busy.running():
        busy.tables.calls.clear()
        judged.clear()
        await busy.envoy.progress.set(busy.envoy.progress.value + 1)
        await busy.calm()
        assert (busy.tables.calls, judged) == ([], [])
        await busy.later(RESYNC_SECONDS)
        assert sorted(call for call, _ in busy.tables.calls) == sorted(DUMPS), "every five minutes, once for all pods"


@pytest.mark.case("E5")
async def test_a_row_that_somebody_took_away_is_seen_although_nothing_else_changed() -> None:
    busy = node()
    async with busy.running():
        row = busy.tables.rows.pop(100)
        await busy.later(RESYNC_SECONDS)
        assert busy.tables.rows[100] == row
