"""A client of the server for others that speaks the protocol word by word, over TCP or a unix socket."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from tests.support.eventually import HANG_SECONDS
from tests.support.xds_world import World
from tidegate.model.plan.envoy import TYPE_URLS
from tidegate.xds.client_status import SYNCZ
from tidegate.xds.services import ADS, SERVICES, DiscoveryService


class Client:
    """One stream."""

    def __init__(
        self,
        world: World,
        service: DiscoveryService = SERVICES[ADS],
        *,
        delta: bool = False,
        node: str = "by-hand",
        socket: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata or {}
        self.channel = grpc.aio.insecure_channel(f"unix:{socket}" if socket else f"127.0.0.1:{world.server.port}")
        self.request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        response = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        self.call: Any = self.channel.stream_stream(
            f"/{service.name}/{service.delta if delta else service.sotw}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )()
        self.delta, self.node = delta, node
        self.nonces: dict[str, str] = {}

    async def say(self, url: str, *names: str, nonce: str = "", error: str = "") -> None:
        message = self.request(type_url=TYPE_URLS.get(url, url), response_nonce=nonce)
        (message.resource_names_subscribe if self.delta else message.resource_names).extend(names)
        message.node.id = self.node
        message.node.metadata.update(self.metadata)
        if error:
            message.error_detail.message = error
        await self.call.write(message)

    async def hear(self, kind: str = "") -> Any:
        answer = await asyncio.wait_for(self.call.read(), HANG_SECONDS)
        assert not kind or answer.type_url == TYPE_URLS[kind], answer
        self.nonces[answer.type_url] = answer.nonce
        return answer

    async def ack(self, kind: str, *names: str, error: str = "") -> None:
        await self.say(kind, *names, nonce=self.nonces[TYPE_URLS[kind]], error=error)

    async def code(self) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self.hear()
        return failure.value.code()

    async def close(self) -> None:
        await self.channel.close()


async def synced(world: World, kind: str, status: str) -> Any:
    """What syncz says of a type when it says that."""
    asking = Client(world, node="istioctl")
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        await asking.say(SYNCZ)
        configs = [unpacked(resource) for resource in (await asking.hear()).resources]
        for config in configs:
            for one in config.generic_xds_configs:
                if one.type_url == TYPE_URLS[kind] and csds_pb2.ConfigStatus.Name(one.config_status) == status:
                    await asking.close()
                    return config, one
    raise AssertionError(f"not within {HANG_SECONDS:.0f} s: syncz says {status} of {kind}; last seen: {configs}")


def unpacked(resource: Any) -> Any:
    config = csds_pb2.ClientConfig()
    assert resource.Unpack(config)
    return config
