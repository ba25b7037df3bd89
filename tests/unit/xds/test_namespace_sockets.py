"""Unix sockets that are for one namespace: who comes by one is of it, and may have its Secrets."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from tests.support.certificates import Authority
from tests.support.configs import virtual_service
from tests.support.gateways import gateway, server
from tests.support.xds_client import Client, synced
from tests.support.xds_world import World, serving

from tidegate.errors import Fatal
from tidegate.model.plan.envoy import LISTENERS, SECRETS
from tidegate.xds.client_status import CONFIG_DUMP, SYNCZ
from tidegate.xds.discovery import DiscoveryServer
from tidegate.xds.services import NamespaceSocket

ROUTER = "router~10.0.0.9~gw.istio-system~istio-system.svc.cluster.local"
LABELS = {"LABELS": {"istio": "ingressgateway"}}
NAME = "kubernetes://pair"
DONE = "- directResponse: {status: 204}"


def edge(secret: str) -> tuple[str, ...]:
    return (
        gateway("edge", server(443, "HTTPS", '"*"', tls="mode: SIMPLE, credentialName: pair")),
        virtual_service(
            "shop", "shop.example", "- directResponse: {status: 204}", more="gateways: [istio-system/edge]"
        ),
        secret,
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sockets = [NamespaceSocket(name, tmp_path / f"{name}.sock") for name in ("istio-system", "other")]
    (tmp_path / "other.sock").write_text("what a server before left")
    async with serving(sockets) as made:
        yield made


def key_of(resource: bytes) -> bytes:
    return bytes(secret_pb2.Secret.FromString(resource).tls_certificate.private_key.inline_bytes)


@pytest.mark.parametrize("delta", [False, True], ids=["state of the world", "delta"])
async def test_a_gateway_gets_its_certificate_and_the_next_one(world: World, tmp_path: Path, delta: bool) -> None:
    pairs = [Authority().issue("shop.example") for _ in range(2)]
    await world.publish(*edge(pairs[0].secret("pair")))
    client = Client(world, node=ROUTER, metadata=LABELS, delta=delta, socket=str(tmp_path / "istio-system.sock"))
    await client.say(SECRETS, NAME)
    for number, pair in enumerate(pairs):
        if number:
            await client.ack(SECRETS, *([] if delta else [NAME]))
            await world.publish(*edge(pair.secret("pair")))
        [told] = (await client.hear(SECRETS)).resources
        assert key_of(told.resource.value if delta else told.value) == pair.key
    await client.close()


@pytest.mark.parametrize("way", ["tcp", "other"])
async def test_who_comes_another_way_gets_neither_server_nor_key(world: World, tmp_path: Path, way: str) -> None:
    await world.publish(*edge(Authority().issue("shop.example").secret("pair")))
    socket = "" if way == "tcp" else str(tmp_path / f"{way}.sock")
    client = Client(world, node=ROUTER, metadata={**LABELS, "NAMESPACE": "istio-system"}, socket=socket)
    await client.say(SECRETS, NAME)
    await client.say(LISTENERS)
    answer = await client.hear()
    assert not answer.resources
    await client.close()


async def test_no_key_is_in_what_is_told_about_others(world: World, tmp_path: Path) -> None:
    pair = Authority().issue("shop.example")
    await world.publish(*edge(pair.secret("pair")))
    gateway = Client(world, node=ROUTER, metadata=LABELS, socket=str(tmp_path / "istio-system.sock"))
    await gateway.say(SECRETS, NAME)
    await gateway.hear(SECRETS)
    await gateway.ack(SECRETS, NAME)
    await synced(world, SECRETS, "SYNCED")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}") as channel:
        stub: Any = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)
        answer = await stub.FetchClientStatus(csds_pb2.ClientStatusRequest())
        assert [one.name for one in answer.config[0].generic_xds_configs] == [NAME]
        assert pair.key not in answer.SerializeToString()
    asking = Client(world, node="istioctl")
    for url, names in ((SYNCZ, ()), (CONFIG_DUMP, ("gw.istio-system",))):
        await asking.say(url, *names)
        told = await asking.hear()
        assert told.resources
        assert pair.key not in told.SerializeToString()
    for one in (gateway, asking):
        await one.close()


async def test_a_socket_is_for_its_owner_only(world: World, tmp_path: Path) -> None:
    for name in ("istio-system", "other"):
        mode = (tmp_path / f"{name}.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert world.server.status().listening[1:] == (f"{tmp_path}/istio-system.sock", f"{tmp_path}/other.sock")


async def test_a_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    where = NamespaceSocket("x", tmp_path / "nowhere" / "x.sock")
    server = DiscoveryServer("127.0.0.1", 0, "test", sockets=[where])
    with pytest.raises(Fatal, match=r"xDS socket .*/nowhere/x.sock"):
        await server.start()
    await server.stop()
