"""tidegate xds over an API server, as processes: over TLS, by a kubeconfig, with and without the server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.endpoint.v3 import eds_pb2_grpc
from tests.support.eventually import HANG_SECONDS
from tests.support.kube.fake_api import FakeApi
from tests.support.kube.kubeconfig import of_the_server, write_kubeconfig
from tests.support.kube.objects import crds, endpoint, endpoint_slice, namespace, pod, service

CLUSTER = "outbound|80||web.default.svc.cluster.local"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeApi]:
    """With TLS; tmp_path/config leads to it."""
    async with FakeApi(ssl=of_the_server(tmp_path)) as api:
        write_kubeconfig(tmp_path, api)
        api.apply(*crds(), namespace("default"), service("web"))
        api.apply(endpoint_slice("web-a", "web", [endpoint("10.244.0.1")]), pod("other", "10.244.0.9", app="web"))
        yield api


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[int]:
    """The port of `tidegate xds`."""
    command = ["xds", "--config", f"kube:{tmp_path}/config", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", *command, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int((await process.stdout.readline()).split()[-1])
    finally:
        process.terminate()
        assert await process.wait() == 0


async def endpoints(port: int) -> list[str]:
    """What a client that asks once gets; nothing as long as nothing is known."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = discovery_pb2.DiscoveryRequest(node={"id": "somebody"}, resource_names=[CLUSTER])
        try:
            answer = await eds_pb2_grpc.EndpointDiscoveryServiceStub(channel).FetchEndpoints(asked)
        except grpc.RpcError:
            return []
    found = []
    for one in answer.resources:
        made = endpoint_pb2.ClusterLoadAssignment()
        one.Unpack(made)
        found += [e.endpoint.address.socket_address.address for part in made.endpoints for e in part.lb_endpoints]
    return found


async def until(port: int, wanted: list[str]) -> None:
    seen: list[str] = []
    for _ in range(int(HANG_SECONDS / 0.05)):
        if (seen := await endpoints(port)) == wanted:
            return
        await asyncio.sleep(0.05)  # the poll itself
    raise AssertionError(f"{seen} instead of {wanted}")


async def told(tmp_path: Path, wanted: str, code: int | None = None) -> None:
    """Until `tidegate status` says so, and ends with this code if one is named."""
    ask = [sys.executable, "-m", "tidegate", "status", "--run-dir", str(tmp_path)]
    out = b""
    for _ in range(int(HANG_SECONDS / 0.5)):  # it takes about that long
        done = await asyncio.create_subprocess_exec(*ask, stdout=asyncio.subprocess.PIPE)
        out, _ = await done.communicate()
        if wanted in out.decode() and code in (None, done.returncode):
            return
    raise AssertionError(f"not {wanted}, but {out.decode()}")


async def test_slices_of_a_cluster_are_served_and_outlive_the_server(api: FakeApi, tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        await until(port, ["10.244.0.1"])
        api.apply(endpoint_slice("web-a", "web", [endpoint("10.244.0.2"), endpoint("192.0.2.7")]))
        await until(port, ["10.244.0.2", "192.0.2.7"])
        await told(tmp_path, f"in sync at {api.address}, 4 objects, up to date", code=0)
        for _ in range(int(HANG_SECONDS / 0.05)):
            if any(b"192.0.2.7" in path.read_bytes() for path in tmp_path.glob("kube-0/*.facts")):
                break
            await asyncio.sleep(0.05)  # the poll itself
    await api.stop()
    async with serving(tmp_path) as port:
        await until(port, ["10.244.0.2", "192.0.2.7"])
        await told(tmp_path, "endpointslices.discovery.k8s.io: away (from disk)")
        await api.start()
        api.apply(endpoint_slice("web-a", "web", [endpoint("10.244.0.3")]))
        await until(port, ["10.244.0.3"])
