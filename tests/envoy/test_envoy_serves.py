"""A real Envoy listens inside a pod's netns and follows what is published, without losing a request."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.cgroup import sole_member
from tests.support.envoy_node import EnvoyNode, Pod, Steady, until
from tests.support.envoy_resources import listener, website

from tidegate.model.plan.envoy import LISTENERS
from tidegate.supervise.supervisor import ProgramState

__all__ = ["node", "pod", "upstreams"]


async def test_a_request_from_the_pod_reaches_its_upstream(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    await until(lambda: node.envoy.status().state == ProgramState.RUNNING, "Envoy is ready")
    answer = await until(lambda: pod.ask("/hello"), "the pod gets an answer")
    assert (answer["status"], answer["body"]["version"], answer["body"]["path"]) == (200, "v1", "/hello")
    assert await asyncio.to_thread(sole_member, node.cgroup) == node.envoy.status().pid


async def test_without_a_publication_envoy_waits_and_says_so(node: EnvoyNode) -> None:
    await until(lambda: node.xds.status().connected, "Envoy is connected")
    assert node.envoy.status().state == ProgramState.STARTING
    assert not await node.xds.wait_applied(1, 0.01)


async def test_changing_weights_under_traffic_fails_no_request(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    stream = await asyncio.to_thread(Steady, pod)
    await stream.started()
    for turn in range(10):
        await node.publish(website(pod.path, upstreams, {"v1": turn % 3 + 1, "v2": turn % 2 + 1}))
    await node.publish(website(pod.path, upstreams, {"v2": 1}))
    last = [(await asyncio.to_thread(pod.ask))["body"]["version"] for _ in range(5)]
    assert last == ["v2"] * 5
    result = await stream.stop()
    assert result["failed"] == 0, result
    assert result["seen"]["v1"] > 0, result
    assert result["seen"]["v2"] > 0, result


async def test_replacing_clusters_under_traffic_fails_no_request(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    def only(version: str) -> dict[str, int]:
        return {version: upstreams[version]}

    await node.publish(website(pod.path, only("v1"), {"v1": 1}))
    stream = await asyncio.to_thread(Steady, pod, rate=400)
    await stream.started()
    for turn in range(20):
        version = "v2" if turn % 2 == 0 else "v1"
        await node.publish(website(pod.path, only(version), {version: 1}))
        expected = {f"web-{version}"}
        await until(lambda wanted=expected: node.clusters() == wanted, "the other cluster is gone")  # type: ignore[misc]
    result = await stream.stop()
    assert result["failed"] == 0, result
    assert set(result["seen"]) == {"v1", "v2"}, result


async def test_a_request_in_flight_outlives_its_cluster(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int], tmp_path: Path
) -> None:
    await node.publish(website(pod.path, {"v1": upstreams["v1"]}, {"v1": 1}))
    slow = asyncio.create_task(asyncio.to_thread(pod.ask, f"/?held={tmp_path / 'go'}"))
    await until(lambda: node.stat("cluster.web-v1.upstream_rq_active") == 1, "the request is on its way")
    await node.publish(website(pod.path, {"v2": upstreams["v2"]}, {"v2": 1}))
    await until(lambda: node.clusters() == {"web-v2"}, "the first cluster is gone")
    assert not slow.done()
    (tmp_path / "go").touch()
    answer = await slow
    assert (answer["status"], answer["body"]["version"]) == (200, "v1")


async def test_a_changed_listener_and_cluster_under_traffic_fail_no_request(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    resources = website(pod.path, upstreams, {"v1": 1})
    await node.publish(resources)
    stream = await asyncio.to_thread(Steady, pod)
    await stream.started()
    for turn in range(5):
        changed = website(pod.path, upstreams, {"v1": 1}, connect_timeout=f"{turn + 2}s")
        changed[LISTENERS]["pod"] = listener("pod", pod.path, "web", stat_prefix=f"turn-{turn}")
        await node.publish(changed)
    assert (await asyncio.to_thread(pod.ask))["status"] == 200
    result = await stream.stop()
    assert result["failed"] == 0, result
