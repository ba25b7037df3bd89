"""A real Envoy listens inside a pod's netns and follows what is published, without losing a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.envoy_node import EnvoyNode, Pod, Steady, Upstream, until
from tests.support.envoy_resources import website

from tidegate.envoy.supervisor import State


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.delete()


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, int]]:
    made = [Upstream(version) for version in ("v1", "v2")]
    yield {upstream.version: upstream.port for upstream in made}
    for upstream in made:
        upstream.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[EnvoyNode]:
    made = EnvoyNode(tmp_path)
    await made.start()
    yield made
    await made.stop()
    assert not made.cgroup.exists(), "Envoy's cgroup is left behind"
    assert not made.envoy.admin_socket.exists(), "Envoy's admin socket is left behind"


async def test_a_request_from_the_pod_reaches_its_upstream(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    await until(lambda: node.envoy.status().state == State.RUNNING, "Envoy is ready")
    answer = await until(lambda: pod.ask("/hello"), "the pod gets an answer")
    assert (answer["status"], answer["body"]["version"], answer["body"]["path"]) == (200, "v1", "/hello")
    assert int((node.cgroup / "cgroup.procs").read_text()) == node.envoy.status().pid


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
