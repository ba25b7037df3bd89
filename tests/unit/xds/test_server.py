"""The gRPC shell, by a real client on a real unix socket."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.support.envoy_resources import cluster, resources
from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Fatal
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, TYPE_URLS
from tidegate.xds.server import SERVICE, AdsServer

DELTA, SOTW = "DeltaAggregatedResources", "StreamAggregatedResources"


@pytest.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[AdsServer]:
    """patience: seconds, by parameter; otherwise no client of these tests is too slow for it."""
    made = AdsServer(tmp_path / "xds.sock", patience=getattr(request, "param", HANG_SECONDS))
    await made.start()
    yield made
    await made.stop()


class Client:
    """A stream of one dialect."""

    def __init__(self, socket: Path, method: str = DELTA) -> None:
        self.channel = grpc.aio.insecure_channel(f"unix:{socket}")
        self.request = discovery_pb2.DeltaDiscoveryRequest if method == DELTA else discovery_pb2.DiscoveryRequest
        response = discovery_pb2.DeltaDiscoveryResponse if method == DELTA else discovery_pb2.DiscoveryResponse
        call: Any = self.channel.stream_stream(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        self.call = call()

    async def say(self, kind: str, node: str = "envoy-1", **members: Any) -> None:
        message = self.request(type_url=TYPE_URLS[kind], **members)
        message.node.id = node
        await self.call.write(message)

    async def hear(self) -> Any:
        return await asyncio.wait_for(self.call.read(), HANG_SECONDS)

    async def close(self) -> None:
        await self.channel.close()


@pytest.fixture
async def client(server: AdsServer, tmp_path: Path) -> AsyncIterator[Client]:
    made = Client(tmp_path / "xds.sock")
    yield made
    await made.close()


async def test_both_dialects_are_served(server: AdsServer, client: Client, tmp_path: Path) -> None:
    await server.publish(1, resources((CLUSTERS, cluster("a", type="STATIC"))))
    await client.say(CLUSTERS)
    assert [r.name for r in (await client.hear()).resources] == ["a"]
    other = Client(tmp_path / "xds.sock", SOTW)
    await other.say(CLUSTERS)
    assert len((await other.hear()).resources) == 1
    await other.close()


async def test_wait_applied_ends_with_the_last_answer(server: AdsServer, client: Client) -> None:
    await server.publish(1, resources((CLUSTERS, cluster("a", type="STATIC"))))
    assert not await server.wait_applied(1, 0.01), "nobody is connected"
    await client.say(CLUSTERS)
    await client.say(LISTENERS)
    waiting = asyncio.create_task(server.wait_applied(1, HANG_SECONDS))
    for kind in (CLUSTERS, LISTENERS):
        answer = await client.hear()
        assert answer.type_url == TYPE_URLS[kind]
        assert not waiting.done()
        await client.say(kind, response_nonce=answer.nonce)
    assert await waiting
    status = server.status()
    assert (status.connected, status.node, status.published, status.applied) == (True, "envoy-1", 1, 1)
    assert (status.types[CLUSTERS].published, status.types[CLUSTERS].held) == (1, 1)


async def test_a_refusal_shows_with_its_origin(server: AdsServer, client: Client) -> None:
    await server.publish(1, resources((CLUSTERS, cluster("a", type="STATIC"))))
    await client.say(CLUSTERS)
    await client.say(LISTENERS)
    answer = await client.hear()
    await client.say(CLUSTERS, response_nonce=answer.nonce, error_detail={"message": "too odd"})
    for kind in (CLUSTERS, LISTENERS):  # what was refused is taken back; and there are no listeners
        answer = await client.hear()
        assert answer.type_url == TYPE_URLS[kind]
        await client.say(kind, response_nonce=answer.nonce)
    assert await server.wait_applied(1, HANG_SECONDS)
    [failure] = server.rejected()
    assert (failure.item, failure.reason) == ("a", "envoy: too odd")
    assert failure.origins == ("Service default/a (web.yaml:1)",)


@pytest.mark.parametrize("server", [0.05], indirect=True)
async def test_a_client_that_never_answers_is_not_waited_for(server: AdsServer, client: Client) -> None:
    await server.publish(1, resources((CLUSTERS, cluster("a", type="STATIC"))))
    await client.say(CLUSTERS)
    await client.say(LISTENERS)
    assert (await client.hear()).type_url == TYPE_URLS[CLUSTERS]
    assert (await client.hear()).type_url == TYPE_URLS[LISTENERS]
    assert not server.status().types[CLUSTERS].acked


async def test_a_client_without_a_name_is_turned_away(server: AdsServer, client: Client) -> None:
    await client.say(CLUSTERS, node="")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await client.hear()
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_socket_is_private(server: AdsServer, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "xds.sock").stat().st_mode) == 0o600


async def test_a_server_takes_over_the_path_of_one_that_was_killed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "xds.sock"))
    second = AdsServer(tmp_path / "xds.sock")
    await second.start()
    client = Client(tmp_path / "xds.sock")
    await second.publish(1, {})
    await client.say(CLUSTERS)
    assert (await client.hear()).type_url == TYPE_URLS[CLUSTERS]
    await client.close()
    await second.stop()


async def test_a_path_that_no_socket_can_have_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="shorter --run-dir"):
        await AdsServer(tmp_path / ("x" * 120)).start()
