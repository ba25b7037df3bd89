"""The server on TCP, by clients that speak the protocol word by word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.support.configs import destination_rule, pod, service, virtual_service
from tests.support.envoy_resources import cluster, endpoints, route
from tests.support.transcript import Publisher, Sotw
from tests.support.xds_client import Client, synced
from tests.support.xds_world import World, serving

from tidegate.compile.facts import Facts
from tidegate.compile.others.served import served
from tidegate.errors import Fatal
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS
from tidegate.xds.discovery import DiscoveryServer
from tidegate.xds.services import ADS, SERVICES
from tidegate.xds.session import Session

WEB = (service("web", "http:80", ips="10.96.0.1"), pod("web-1", "app: web, v: one", "10.0.0.1"))
NAME = "outbound|80||web.default.svc.cluster.local"
SIDECAR = "sidecar~10.0.0.9~curl.default~default.svc.cluster.local"
SUBSET = destination_rule("web", "web", "subsets: [{name: one, labels: {v: one}}]")
TO_ONE = virtual_service("web", "web", "- route: [{destination: {host: web, subset: one}}]")
OF_KIND = {service.kinds[0]: service for service in SERVICES.values() if service.name != ADS}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving() as made:
        await made.publish(*WEB)
        yield made


# --- services ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("delta", [False, True], ids=["state of the world", "delta"])
@pytest.mark.parametrize("kind", [LISTENERS, ROUTES, CLUSTERS, ENDPOINTS])
async def test_each_type_has_its_service_in_both_dialects(world: World, kind: str, delta: bool) -> None:
    client = Client(world, OF_KIND[kind], delta=delta)
    names = {ROUTES: ["80"], ENDPOINTS: [NAME]}.get(kind, [])
    await client.say(kind, *names)
    answer = await client.hear(kind)
    assert len(answer.resources) == {CLUSTERS: 2}.get(kind, 1)
    assert json.loads(answer.control_plane.identifier)["ID"] == "test"
    await client.close()


@pytest.mark.parametrize("kind", [LISTENERS, ROUTES, CLUSTERS, ENDPOINTS, SECRETS])
async def test_each_type_can_be_fetched_once(world: World, kind: str) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}") as channel:
        fetch: Any = channel.unary_unary(
            f"/{OF_KIND[kind].name}/{OF_KIND[kind].fetch}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        answer = await fetch(discovery_pb2.DiscoveryRequest(node={"id": "by-hand"}))
        assert len(answer.resources) == {CLUSTERS: 2, SECRETS: 0}.get(kind, 1)


async def test_a_client_without_a_name_is_turned_away(world: World) -> None:
    client = Client(world, node="")
    await client.say(CLUSTERS)
    assert await client.code() is grpc.StatusCode.INVALID_ARGUMENT
    await client.close()


async def test_nobody_is_told_anything_before_the_configuration_was_read() -> None:
    async with serving() as world:
        client = Client(world)
        await client.say(CLUSTERS)
        assert await client.code() is grpc.StatusCode.UNAVAILABLE
        await client.close()


async def test_an_address_that_is_taken_is_named_with_a_remedy(world: World) -> None:
    with pytest.raises(Fatal, match="choose another --xds-listen"):
        await DiscoveryServer("127.0.0.1", world.server.port, "second").start()


# --- the state machine ------------------------------------------------------------------------------------------------
async def test_a_nonce_of_an_earlier_stream_is_a_subscription(world: World) -> None:
    client = Client(world)
    await client.say(CLUSTERS, nonce="clusters-17")
    assert len((await client.hear(CLUSTERS)).resources) == 2
    await client.close()


async def test_who_named_something_once_means_nothing_by_no_names(world: World) -> None:
    client = Client(world)
    await client.say(CLUSTERS, NAME)
    assert len((await client.hear(CLUSTERS)).resources) == 1
    await client.ack(CLUSTERS)
    await client.ack(CLUSTERS)
    await world.publish(*WEB, service("more", "http:80"))
    await client.say(LISTENERS)
    await client.hear(LISTENERS)  # and nothing of clusters before it
    await client.close()


async def test_every_name_is_answered(world: World) -> None:
    client = Client(world)
    await client.say(ENDPOINTS, "outbound|80||nobody.default.svc.cluster.local")
    assert len((await client.hear(ENDPOINTS)).resources) == 1
    await client.say(ROUTES, "4711")
    assert len((await client.hear(ROUTES)).resources) == 1
    await client.close()


async def test_a_refusal_is_not_answered_with_the_same(world: World) -> None:
    client = Client(world)
    await client.say(ENDPOINTS, NAME)
    first = await client.hear(ENDPOINTS)
    await client.ack(ENDPOINTS, NAME, error="odd")
    instead = await client.hear(ENDPOINTS)  # or the cluster would wait for ever
    assert b"10.0.0.1" in first.resources[0].value
    assert b"10.0.0.1" not in instead.resources[0].value
    await client.ack(ENDPOINTS, NAME)
    await world.publish(WEB[0], pod("web-1", "app: web, v: one", "10.0.0.7"))
    assert b"10.0.0.7" in (await client.hear(ENDPOINTS)).resources[0].value
    await client.close()


async def test_a_changed_cluster_brings_its_endpoints_and_a_changed_listener_its_routes(world: World) -> None:
    client = Client(world)
    await client.say(CLUSTERS)
    await client.hear(CLUSTERS)
    await client.ack(CLUSTERS)
    await client.say(ENDPOINTS, NAME)
    await client.hear(ENDPOINTS)
    await client.ack(ENDPOINTS, NAME)
    rule = destination_rule("web", "web", "trafficPolicy: {loadBalancer: {simple: RANDOM}}")
    await world.publish(*WEB, rule)
    await client.hear(CLUSTERS)
    await client.hear(ENDPOINTS)
    await client.close()


# --- a stream for each type -------------------------------------------------------------------------------------------
async def test_the_order_holds_across_streams(world: World) -> None:
    streams = {kind: Client(world, OF_KIND[kind]) for kind in (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)}
    names = {ROUTES: ["80"], ENDPOINTS: [NAME]}
    for kind, client in streams.items():
        await client.say(kind, *names.get(kind, []))
        await client.hear(kind)
        await client.ack(kind, *names.get(kind, []))
    await world.publish(*WEB, SUBSET, TO_ONE)
    assert len((await streams[CLUSTERS].hear(CLUSTERS)).resources) == 3
    routes = asyncio.create_task(streams[ROUTES].hear(ROUTES))
    await synced(world, CLUSTERS, "STALE")
    assert not routes.done(), "routes wait for the clusters that they lead to"
    await streams[CLUSTERS].ack(CLUSTERS)
    await streams[ENDPOINTS].ack(ENDPOINTS, NAME, NAME.replace("||", "|one|"))
    await streams[ENDPOINTS].hear(ENDPOINTS)
    await streams[ENDPOINTS].ack(ENDPOINTS, NAME, NAME.replace("||", "|one|"))
    assert b"|one|" in (await routes).resources[0].value
    await streams[ROUTES].ack(ROUTES, "80")
    await world.publish(*WEB)
    clusters = asyncio.create_task(streams[CLUSTERS].hear(CLUSTERS))
    assert b"|one|" not in (await streams[ROUTES].hear(ROUTES)).resources[0].value
    await synced(world, ROUTES, "STALE")
    assert not clusters.done(), "a cluster stays while routes lead to it"
    await streams[ROUTES].ack(ROUTES, "80")
    assert len((await clusters).resources) == 2
    for client in streams.values():
        await client.close()


def test_routes_wait_until_a_new_cluster_has_endpoints() -> None:
    publisher = Publisher()
    peers: list[Session] = []
    streams = {}
    for kind in (CLUSTERS, ENDPOINTS, ROUTES):
        streams[kind] = Sotw(Session({}, (kind,), peers))
        peers.append(streams[kind].session)
    image = publisher.image(cluster("a"), endpoints("a", 1), route("web", {"a": 1}))
    for stream in streams.values():
        stream.session.publish(image)
    streams[CLUSTERS].say(CLUSTERS)
    streams[CLUSTERS].hear()
    streams[CLUSTERS].say(CLUSTERS)  # an Envoy with a stream for each confirms a cluster before it asks for endpoints
    streams[ROUTES].say(ROUTES, "web", nonce="")
    assert streams[ROUTES].hear() == []
    streams[ENDPOINTS].say(ENDPOINTS, "a", nonce="")
    streams[ENDPOINTS].hear()
    assert streams[ROUTES].hear() == []
    streams[ENDPOINTS].say(ENDPOINTS, "a")
    assert streams[ROUTES].hear() == [(ROUTES, ["web"])]


def test_who_never_asks_for_endpoints_is_not_waited_for_longer_than_that() -> None:
    publisher = Publisher()
    peers: list[Session] = []
    clusters, routes = Sotw(Session({}, (CLUSTERS,), peers)), Sotw(Session({}, (ROUTES,), peers))
    peers += [clusters.session, routes.session]
    for stream in (clusters, routes):
        stream.session.publish(publisher.image(cluster("a"), endpoints("a", 1), route("web", {"a": 1})))
    clusters.say(CLUSTERS)
    clusters.hear()
    clusters.say(CLUSTERS)
    routes.say(ROUTES, "web", nonce="")
    assert routes.hear() == []
    due = routes.session.next_due()
    assert due is not None
    routes.session.now = due
    assert routes.hear() == [(ROUTES, ["web"])]
    assert routes.session.next_due() is None


async def test_an_envoy_with_a_stream_for_each_is_told_to_ask_so_for_more(world: World) -> None:
    client = Client(world, OF_KIND[CLUSTERS])
    await client.say(CLUSTERS)
    assert all(b"xds_cluster" in r.value for r in (await client.hear()).resources if b"outbound" in r.value)
    await client.close()


# --- sharing ----------------------------------------------------------------------------------------------------------
async def test_each_client_gets_what_rules_say_for_it(world: World) -> None:
    only = "- match: [{sourceLabels: {v: one}}]\n  directResponse: {status: 418}"
    await world.publish(*WEB, virtual_service("web", "web", only))
    told = {}
    for name in ("web-1", "curl"):
        client = Client(world, node=f"sidecar~10.0.0.9~{name}.default~default.svc.cluster.local")
        await client.say(ROUTES, "80")
        told[name] = (await client.hear(ROUTES)).resources[0].value
        await client.close()
    assert told["web-1"] != told["curl"]


async def test_a_client_for_which_nothing_can_be_made_keeps_what_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Client(world, node="odd")
    await odd.say(ENDPOINTS, NAME)
    await odd.hear(ENDPOINTS)
    await odd.ack(ENDPOINTS, NAME)

    def for_nobody_called_so(facts: Facts, who: Any) -> Any:
        if who.namespace == "default":
            raise RuntimeError("a defect")
        return served(facts, who)

    monkeypatch.setattr("tidegate.xds.images.served", for_nobody_called_so)
    await world.publish(WEB[0], pod("web-1", "app: web, v: one", "10.0.0.7"))
    other = Client(world, node="sidecar~10.0.0.9~x.elsewhere~elsewhere.svc.cluster.local")
    await other.say(ENDPOINTS, NAME)
    assert b"10.0.0.7" in (await other.hear(ENDPOINTS)).resources[0].value
    monkeypatch.undo()
    await world.publish(WEB[0], pod("web-1", "app: web, v: one", "10.0.0.8"))
    assert b"10.0.0.8" in (await odd.hear(ENDPOINTS)).resources[0].value
    for client in (odd, other):
        await client.close()
