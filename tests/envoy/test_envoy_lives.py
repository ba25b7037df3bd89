"""Envoy dies, the agent dies, both end: who comes back, how fast, and what is left."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.cgroup import sole_member
from tests.support.envoy_node import EnvoyNode, KillableAgent, Pod, Steady, cgroup2_mount, until
from tests.support.envoy_resources import route, website
from tests.support.eventually import HANG_SECONDS

from tidegate.linux.process import start_ticks
from tidegate.model.plan.envoy import ROUTES
from tidegate.supervise.supervisor import ProgramState

__all__ = ["node", "pod", "upstreams"]


@pytest.fixture
async def cgroup() -> AsyncIterator[Path]:
    made = cgroup2_mount() / f"tg-envoy-{secrets.token_hex(4)}"
    yield made
    assert not made.exists(), "Envoy's cgroup is left behind"


def alive(pid: int) -> bool:
    try:
        start_ticks(pid)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_envoy_serves_again(node: EnvoyNode, pod: Pod, upstreams: dict[str, int]) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    await until(lambda: node.envoy.status().state == ProgramState.RUNNING, "Envoy is ready")
    stream = await asyncio.to_thread(Steady, pod)
    await stream.started()
    first = node.envoy.status().pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: node.envoy.status().pid not in (0, first), "another Envoy runs")
    await until(lambda: node.xds.status().applied == node.generation, "it has the configuration")
    await until(lambda: pod.ask().get("status") == 200, "it serves")
    status = node.envoy.status()
    assert (status.restarts, status.last_exit) == (1, "signal SIGKILL")
    await stream.stop()


async def test_a_killed_envoy_gets_the_last_good_content_of_what_is_refused(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    broken = website(pod.path, upstreams, {"v1": 1})
    body = {**broken[ROUTES]["web"].body, "virtual_hosts": [{"name": n, "domains": ["*"]} for n in "ab"]}
    broken[ROUTES]["web"] = replace(broken[ROUTES]["web"], body=body)
    await node.publish(broken)
    assert [f.item for f in node.xds.rejected()] == ["web"]
    first = node.envoy.status().pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: node.envoy.status().pid not in (0, first), "another Envoy runs")
    answer = await until(lambda: (a := pod.ask()).get("status") == 200 and a, "it serves what was good")
    assert answer["body"]["version"] == "v1"
    await until(lambda: [f.item for f in node.xds.rejected()] == ["web"], "the refusal is shown again")


async def test_killing_the_agent_interrupts_nothing_and_the_next_one_adopts(
    tmp_path: Path, cgroup: Path, pod: Pod, upstreams: dict[str, int]
) -> None:
    agent = await asyncio.to_thread(KillableAgent, tmp_path, cgroup, pod.path, upstreams, {"v1": 1})
    await asyncio.to_thread(agent.applied)
    pid = await asyncio.to_thread(sole_member, cgroup)
    stream = await asyncio.to_thread(Steady, pod)
    await stream.started()
    await asyncio.to_thread(agent.kill)
    assert (await asyncio.to_thread(pod.ask))["status"] == 200

    node = EnvoyNode(tmp_path, cgroup=cgroup)
    await node.start()
    try:
        await node.publish(website(pod.path, upstreams, {"v1": 1}))
        await until(lambda: node.envoy.status().state == ProgramState.RUNNING, "the adopted Envoy is ready")
        status = node.envoy.status()
        assert (status.pid, status.adopted, status.restarts) == (pid, True, 0)
        updates = node.stat("listener_manager.listener_modified") + node.stat("cluster_manager.cluster_modified")
        assert updates == 0, "equal content must not be sent again"
        await node.publish(website(pod.path, upstreams, {"v2": 1}))
        assert (await asyncio.to_thread(pod.ask))["body"]["version"] == "v2"
        result = await stream.stop()
        assert result["failed"] == 0, result
        os.kill(pid, signal.SIGKILL)
        await until(lambda: node.envoy.status().restarts == 1, "the end of an adopted Envoy is noticed")
        assert node.envoy.status().last_exit.startswith("not known (an earlier agent had started it)")
        await until(lambda: pod.ask().get("status") == 200, "another one serves")
    finally:
        await node.stop()
    assert not alive(pid)


async def test_an_envoy_with_other_settings_is_replaced_not_adopted(
    tmp_path: Path, cgroup: Path, pod: Pod, upstreams: dict[str, int]
) -> None:
    agent = await asyncio.to_thread(KillableAgent, tmp_path, cgroup, pod.path, upstreams, {"v1": 1})
    await asyncio.to_thread(agent.applied)
    pid = await asyncio.to_thread(sole_member, cgroup)
    await asyncio.to_thread(agent.kill)
    node = EnvoyNode(tmp_path, cgroup=cgroup, node_id="renamed")
    await node.start()
    try:
        assert not alive(pid), "it would connect again, and its answers would be taken for those of the next one"
        await node.publish(website(pod.path, upstreams, {"v1": 1}))
        status = node.envoy.status()
        assert status.pid != pid
        assert not status.adopted
        assert node.xds.status().node == "renamed"
    finally:
        await node.stop()


async def test_an_envoy_that_nobody_remembers_is_ended(
    tmp_path: Path, cgroup: Path, pod: Pod, upstreams: dict[str, int]
) -> None:
    agent = await asyncio.to_thread(KillableAgent, tmp_path, cgroup, pod.path, upstreams, {"v1": 1})
    await asyncio.to_thread(agent.applied)
    pid = await asyncio.to_thread(sole_member, cgroup)
    await asyncio.to_thread(agent.kill)
    (tmp_path / "envoy/pid").unlink()  # killed between starting Envoy and writing its pid down
    node = EnvoyNode(tmp_path, cgroup=cgroup)
    await node.start()
    try:
        await node.publish(website(pod.path, upstreams, {"v1": 1}))
        assert not alive(pid)
        assert await asyncio.to_thread(sole_member, cgroup) == node.envoy.status().pid
    finally:
        await node.stop()


async def test_stopping_lets_a_request_finish_and_leaves_nothing(
    tmp_path: Path, cgroup: Path, pod: Pod, upstreams: dict[str, int]
) -> None:
    node = EnvoyNode(tmp_path, cgroup=cgroup)
    await node.start()
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    pid = node.envoy.status().pid
    slow = asyncio.create_task(asyncio.to_thread(pod.ask, f"/?held={tmp_path / 'go'}"))
    await until(lambda: node.stat("cluster.web-v1.upstream_rq_active") == 1, "the request is on its way")
    stopping = asyncio.create_task(node.envoy.stop(drain=10 * HANG_SECONDS))
    await until(lambda: node.envoy.status().state == ProgramState.STOPPING, "it is being ended")
    assert not stopping.done()
    (tmp_path / "go").touch()
    # Returns when nothing is left to wait for, and not when the drain time is over.
    await asyncio.wait_for(stopping, HANG_SECONDS)
    answer = await slow
    assert answer["status"] == 200
    await node.stop()
    assert node.envoy.status().state == ProgramState.STOPPED
    assert not alive(pid)
    assert not (tmp_path / "envoy/pid").exists()
    assert not node.envoy.admin_socket.exists()
    assert not (tmp_path / "xds.sock").exists()


async def test_a_hung_connection_does_not_outlast_the_drain_time(
    tmp_path: Path, cgroup: Path, pod: Pod, upstreams: dict[str, int]
) -> None:
    node = EnvoyNode(tmp_path, cgroup=cgroup)
    await node.start()
    resources = website(pod.path, upstreams, {"v1": 1})
    resources[ROUTES]["web"] = route("web", {"web-v1": 1}, timeout="0s")
    await node.publish(resources)
    slow = asyncio.create_task(asyncio.to_thread(pod.ask, f"/?sleep={10 * HANG_SECONDS:.0f}"))
    await until(lambda: node.stat("cluster.web-v1.upstream_rq_active") == 1, "the request is on its way")
    begun = time.monotonic()
    await asyncio.wait_for(node.envoy.stop(drain=0.5), HANG_SECONDS)
    assert time.monotonic() - begun >= 0.5
    assert (await slow)["status"] != 200
    await node.stop()
