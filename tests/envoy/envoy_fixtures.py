"""Fixtures of the stories about Envoy: a pod, two upstreams, the L7 half of a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.envoy_node import EnvoyNode, Pod, Upstream


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.delete()


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, int]]:
    """Ports by version."""
    made = [Upstream(version) for version in ("v1", "v2")]
    yield {upstream.version: upstream.port for upstream in made}
    for upstream in made:
        upstream.stop()


@pytest.fixture
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[EnvoyNode]:
    """Started, nothing published; at the end nothing of it may be left. Options come by indirect parametrization."""
    made = EnvoyNode(tmp_path, **getattr(request, "param", {}))
    await made.start()
    yield made
    await made.stop()
    assert not made.cgroup.exists(), "Envoy's cgroup is left behind"
    assert not made.envoy.admin_socket.exists(), "Envoy's admin socket is left behind"
