"""What people and programs are told of clients that are not ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.configs import pod, service
from tests.support.eventually import eventually
from tests.support.xds_client import Client
from tests.support.xds_world import World, serving

from tidegate.cli.status import _print
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS
from tidegate.observe.others import OthersViews
from tidegate.telemetry.metrics import OthersCollector, exposition

WEB = (service("web", "http:80", ips="10.96.0.1"), pod("web-1", "app: web", "10.0.0.1"))
SIDECAR = "sidecar~10.0.0.9~curl.default~default.svc.cluster.local"
TWICE = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: twice, namespace: default}
spec:
  configPatches:
  - applyTo: VIRTUAL_HOST
    patch: {operation: ADD, value: {name: again, domains: [web], routes: []}}
"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as made:
        await made.publish(*WEB)
        yield made


async def until(check: Any, what: str) -> None:
    await asyncio.to_thread(eventually, check, what)


async def refuse(client: Client) -> None:
    """Whatever listeners come."""
    while True:
        await client.hear(LISTENERS)
        await client.ack(LISTENERS, error="Error adding/updating listener(s) 0.0.0.0_80: no")


async def view(world: World) -> dict[str, Any]:
    return await OthersViews(world.server.status, lambda: None, ["file:x"]).status({})


def metrics(world: World) -> str:
    registry = CollectorRegistry()
    registry.register(OthersCollector(world.server.status, lambda: (world.server.told, world.server.refused)))
    return exposition(registry).decode()


async def test_clients_are_counted_while_they_are_there(world: World) -> None:
    assert world.server.status().flavours == {}
    sidecar, hand = Client(world, node=SIDECAR), Client(world)
    for one in (sidecar, hand):
        await one.say(CLUSTERS)
        await one.hear(CLUSTERS)
    assert world.server.status().flavours == {"sidecar": 2}
    assert (world.server.status().streams, world.server.status().synced) == (2, 0)
    for one in (sidecar, hand):
        await one.ack(CLUSTERS)
    await until(lambda: world.server.status().synced == 2, "both have all that they asked for")
    assert 'tidegate_xds_responses_total{kind="clusters"} 2.0' in metrics(world)
    assert "tidegate_xds_synced_clients 2.0" in metrics(world)
    await sidecar.close()
    await until(lambda: world.server.status().flavours == {"sidecar": 1}, "the one that went is not counted")
    await hand.close()


async def test_a_refusal_is_told_with_its_place_and_is_not_the_servers_own_health(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(world, node=SIDECAR)
    await client.say(LISTENERS)
    refusing = asyncio.create_task(refuse(client))
    await until(lambda: world.server.status().refusals, "a listener stands alone with what is wrong with it")
    refusing.cancel()
    [one, *_] = world.server.status().refused
    assert (one.client, one.kind) == ("curl.default", "listeners")
    shown = await view(world)
    assert shown["healthy"] is True
    assert any("no" in entry["detail"] for entry in shown["others"]["refused"])
    _print(shown)
    assert "curl.default refuses listeners" in capsys.readouterr().out
    assert "tidegate_xds_withheld 0.0" not in metrics(world)
    await client.close()


async def test_a_patch_that_cannot_be_applied_is_named_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    clients = [Client(world, node=SIDECAR), Client(world, node="by-hand")]
    for one in clients:
        await one.say(CLUSTERS)
        await one.hear(CLUSTERS)
    with caplog.at_level(logging.WARNING):
        await world.publish(*WEB, TWICE)
        await world.publish(*WEB, TWICE, service("other", "http:81", ips="10.96.0.2"))
    told = world.server.status().left_out
    assert [title for title, _, _ in told] == ["EnvoyFilter default/twice patch 0"]
    assert "no other has" in told[0][1]
    assert "EnvoyFilter default/twice" in told[0][2]
    assert len([r for r in caplog.records if "is left out" in r.getMessage()]) == len(clients)
    assert "tidegate_xds_left_out 1.0" in metrics(world)
    await world.publish(*WEB)
    assert world.server.status().left_out == ()
    for one in clients:
        await one.close()


async def test_a_server_without_configuration_says_so() -> None:
    async with serving() as world:
        shown = await view(world)
        assert (shown["healthy"], shown["unhealthy"]) == (False, ["no configuration was delivered yet"])
        assert OthersViews(world.server.status, lambda: None, []).missing() == ["configuration"]
