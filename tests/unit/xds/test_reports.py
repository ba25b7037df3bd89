"""What is told about other clients: who is in sync, what they have and should have; word by word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.admin.v3 import config_dump_shared_pb2
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from tests.support.configs import pod, service
from tests.support.xds_client import Client, synced
from tests.support.xds_world import World, serving

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, TYPE_URLS
from tidegate.xds.client_status import CONFIG_DUMP, DEBUG, SYNCZ

WEB = (service("web", "http:80", ips="10.96.0.1"), pod("web-1", "app: web, v: one", "10.0.0.1"))
NAME = "outbound|80||web.default.svc.cluster.local"
SIDECAR = "sidecar~10.0.0.9~curl.default~default.svc.cluster.local"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as made:
        await made.publish(*WEB)
        yield made


async def test_istioctl_reads_who_is_in_sync(world: World) -> None:
    client = Client(world, node=SIDECAR)
    await client.say(CLUSTERS)
    await client.hear(CLUSTERS)
    config, clusters = await synced(world, CLUSTERS, "STALE")
    assert config.node.id == "curl.default"
    assert config.node.metadata.fields["ISTIO_VERSION"].string_value
    by_type = {c.type_url: csds_pb2.ConfigStatus.Name(c.config_status) for c in config.generic_xds_configs}
    assert by_type == {TYPE_URLS[CLUSTERS]: "STALE"}, "what is not subscribed is not counted as if it were"
    await client.ack(CLUSTERS)
    config, clusters = await synced(world, CLUSTERS, "SYNCED")
    assert clusters.last_updated.seconds > 0
    # As istioctl of before 1.20 reads it.
    older = {one.WhichOneof("per_xds_config"): csds_pb2.ConfigStatus.Name(one.status) for one in config.xds_config}
    assert older == {
        "listener_config": "NOT_SENT",
        "route_config": "NOT_SENT",
        "endpoint_config": "NOT_SENT",
        "cluster_config": "SYNCED",
    }
    await client.close()


async def test_a_refusal_shows_with_its_reason(world: World) -> None:
    client = Client(world, node=SIDECAR)
    await client.say(ENDPOINTS, NAME)
    await client.hear(ENDPOINTS)
    await client.ack(ENDPOINTS, NAME, error="too odd")
    _, one = await synced(world, ENDPOINTS, "ERROR")
    assert one.error_state.details == f"{NAME}: too odd"
    await client.close()


async def test_who_only_asks_about_others_is_none_of_them(world: World) -> None:
    asking = Client(world, node="istioctl")
    await asking.say(SYNCZ)
    answer = await asking.hear()
    assert (answer.type_url, list(answer.resources)) == (SYNCZ, [])
    await asking.say("istio.io/debug/connections")
    assert (await asking.hear()).type_url == "istio.io/debug/connections"
    await asking.say(DEBUG, "syncz")
    (told,) = (await asking.hear()).resources
    assert b"istioctl proxy-status" in told.value
    await asking.close()


@pytest.mark.parametrize("delta", [False, True], ids=["state of the world", "delta"])
async def test_istioctl_reads_what_one_client_should_have(world: World, delta: bool) -> None:
    client = Client(world, node=SIDECAR)
    await client.say(ENDPOINTS, NAME)
    await client.hear(ENDPOINTS)
    asking = Client(world, node="istioctl", delta=delta)
    await asking.say(CONFIG_DUMP, "curl.default")
    dumps = [r.resource if delta else r for r in (await asking.hear()).resources]
    assert [dump.type_url.rpartition(".")[2] for dump in dumps] == [
        f"{kind}ConfigDump" for kind in ("Clusters", "Listeners", "Routes", "Endpoints")
    ]
    endpoints = config_dump_shared_pb2.EndpointsConfigDump.FromString(dumps[-1].value)
    assert b"10.0.0.1" in endpoints.dynamic_endpoint_configs[0].endpoint_config.value
    for names in ((), ("nobody.default",), ("curl.default", "web.default")):
        await asking.say(CONFIG_DUMP, *names)
        assert not (await asking.hear()).resources
    for one in (client, asking):
        await one.close()


def matcher(**how: Any) -> csds_pb2.ClientStatusRequest:
    return csds_pb2.ClientStatusRequest(node_matchers=[{"node_id": how}])


async def test_csds_tells_what_each_client_has(world: World) -> None:
    client = Client(world, node=SIDECAR)
    await client.say(ENDPOINTS, NAME)
    await client.hear(ENDPOINTS)
    await client.ack(ENDPOINTS, NAME)
    await synced(world, ENDPOINTS, "SYNCED")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}") as channel:
        stub: Any = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)
        [config] = (await stub.FetchClientStatus(csds_pb2.ClientStatusRequest())).config
        [one] = config.generic_xds_configs
        assert (config.node.id, one.name, one.client_status) == (SIDECAR, NAME, 3)
        assert b"10.0.0.1" in one.xds_config.value
        short = await stub.FetchClientStatus(csds_pb2.ClientStatusRequest(exclude_resource_contents=True))
        assert not short.config[0].generic_xds_configs[0].HasField("xds_config")
        for how, found in (
            ({"exact": SIDECAR}, 1),
            ({"prefix": "sidecar~"}, 1),
            ({"suffix": ".LOCAL", "ignore_case": True}, 1),
            ({"contains": "curl"}, 1),
            ({"exact": "curl"}, 0),
        ):
            assert len((await stub.FetchClientStatus(matcher(**how))).config) == found, how
        stream = stub.StreamClientStatus()
        await stream.write(matcher(contains="curl"))
        assert len((await stream.read()).config) == 1
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.FetchClientStatus(matcher(safe_regex={"regex": ".*"}))
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await client.close()
