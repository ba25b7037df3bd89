"""A real Envoy that speaks the state-of-the-world dialect gets the same treatment."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.envoy.envoy_fixtures import pod, upstreams
from tests.support.envoy_node import ENVOY, Pod, Steady, until
from tests.support.envoy_resources import listener, website
from tests.support.eventually import HANG_SECONDS

from tidegate.envoy.bootstrap import bootstrap
from tidegate.model.plan.envoy import LISTENERS
from tidegate.xds.server import AdsServer

__all__ = ["pod", "upstreams"]


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[None]:
    """An Envoy of the other dialect; it looks for its server until there is one."""
    config = bootstrap(
        node_id="sotw",
        xds_socket=tmp_path / "xds.sock",
        admin_socket=tmp_path / "admin.sock",
        max_connections=1000,
        max_heap=2**30,
    )
    config["dynamic_resources"]["ads_config"]["api_type"] = "GRPC"
    (tmp_path / "bootstrap.json").write_text(json.dumps(config))
    argv: list[str | Path] = [
        ENVOY,
        "-c",
        tmp_path / "bootstrap.json",
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "-l",
        "warning",
    ]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        yield
        process.kill()


@pytest.fixture
async def xds(envoy: None, tmp_path: Path) -> AsyncIterator[AdsServer]:
    server = AdsServer(tmp_path / "xds.sock")
    await server.start()
    yield server
    await server.stop()


async def test_replacing_clusters_under_traffic_fails_no_request(
    xds: AdsServer, pod: Pod, upstreams: dict[str, int]
) -> None:
    await xds.publish(1, website(pod.path, {"v1": upstreams["v1"]}, {"v1": 1}))
    assert await xds.wait_applied(1, HANG_SECONDS), xds.status()
    stream = await asyncio.to_thread(Steady, pod)
    await stream.started()
    for generation in range(2, 12):
        version = "v2" if generation % 2 == 0 else "v1"
        await xds.publish(generation, website(pod.path, {version: upstreams[version]}, {version: 1}))
        assert await xds.wait_applied(generation, HANG_SECONDS), xds.status()
        # A request of our own takes as long as a dozen of the stream's: each generation meets some.
        assert (await asyncio.to_thread(pod.ask))["body"]["version"] == version
    result = await stream.stop()
    assert result["failed"] == 0, result
    assert set(result["seen"]) == {"v1", "v2"}, result


async def test_a_refused_listener_leaves_the_others_alone(xds: AdsServer, pod: Pod, upstreams: dict[str, int]) -> None:
    resources = website(pod.path, upstreams, {"v1": 1})
    resources[LISTENERS]["odd"] = listener("odd", "/run/netns/absent", "web")
    await xds.publish(1, resources)
    assert await xds.wait_applied(1, HANG_SECONDS), xds.status()
    assert [failure.item for failure in xds.rejected()] == ["odd"]
    assert (await until(pod.ask, "the pod gets an answer"))["status"] == 200
