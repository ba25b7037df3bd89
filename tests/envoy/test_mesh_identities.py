"""ISTIO_MUTUAL before a real Envoy: one cluster, many clients, each with its own certificate of the mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.envoy.envoy_fixtures import node, pod
from tests.support.envoy_node import EnvoyNode, Pod, Steady, until
from tests.support.envoy_resources import Resources, listener, website
from tests.support.mesh_origin import MeshOrigin, certified, mesh_authority

from tidegate.compile.envoy.filters import pod_sockets
from tidegate.compile.envoy.identities import identity_secrets, names_in
from tidegate.compile.envoy.upstream_tls import transport_socket
from tidegate.identity.authority import Authority
from tidegate.model.identity import Certified, Identity
from tidegate.model.plan.envoy import LISTENERS, SECRETS
from tidegate.model.traffic import ClientTls, TlsMode, TrafficPolicy

__all__ = ["node", "pod"]
A, B, WEB = (Identity("default", name) for name in ("a", "b", "web"))
DOMAIN = "cluster.local"
ONCE = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
}


@pytest.fixture
def other() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.delete()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return mesh_authority(tmp_path / "ca")


@pytest.fixture
def origin(tmp_path: Path, authority: Authority) -> Iterator[MeshOrigin]:
    with MeshOrigin(tmp_path / "web", certified(authority, "web"), "istio") as made:
        made.answers["/"] = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"version":"v1"}'
        yield made


def socket(server: Identity = WEB) -> dict[str, Any]:
    names = names_in([DOMAIN], [server])
    tls = ClientTls(mode=TlsMode.ISTIO_MUTUAL, sni="outbound_.80_._.web", names=names, protocols=("istio",))
    made = transport_socket(TrafficPolicy(tls=tls))
    assert made is not None
    return made


def site(
    pods: dict[Pod, Identity], port: int, *held: Certified, server: Identity = WEB, once: bool = True
) -> Resources:
    """A website of which every pod is a client, with its own listener."""
    more = {"transport_socket": socket(server), **({"typed_extension_protocol_options": ONCE} if once else {})}
    out = website("", {"v1": port}, {"v1": 1}, **more)
    out[LISTENERS] = {}
    for number, (one, identity) in enumerate(pods.items()):
        plain = listener(f"pod{number}", one.path, "web")
        (chain,) = plain.body["filter_chains"]
        chain["filters"].insert(0, pod_sockets(one.path, identity.secret))
        out[LISTENERS][plain.name] = plain
    out[SECRETS] = identity_secrets({one.identity: one for one in held})
    return out


async def test_each_client_shows_its_own_certificate_through_one_cluster(
    node: EnvoyNode, pod: Pod, other: Pod, origin: MeshOrigin, authority: Authority
) -> None:
    held = [certified(authority, name) for name in ("a", "b")]
    await node.publish(site({pod: A, other: B}, origin.port, *held, once=False))
    for one in (pod, other):
        assert (await asyncio.to_thread(one.ask))["status"] == 200
    assert origin.shown() == [(A.spiffe(DOMAIN),), (B.spiffe(DOMAIN),)], "a connection is nobody else's"
    assert {(h.name, h.protocol) for h in origin.handshakes} == {("outbound_.80_._.web", "istio")}
    assert not node.xds.rejected()


async def test_no_session_of_one_client_is_resumed_by_another(
    node: EnvoyNode, pod: Pod, other: Pod, origin: MeshOrigin, authority: Authority
) -> None:
    held = [certified(authority, name) for name in ("a", "b")]
    await node.publish(site({pod: A, other: B}, origin.port, *held))
    seen = []
    for one, identity in ((pod, A), (pod, A), (other, B), (pod, A), (other, B)):
        assert (await asyncio.to_thread(one.ask))["status"] == 200
        seen.append((identity.spiffe(DOMAIN),))
        assert origin.shown() == seen


async def test_who_asks_before_its_certificate_is_there_waits_for_it(
    node: EnvoyNode, pod: Pod, origin: MeshOrigin, authority: Authority
) -> None:
    await node.publish(site({pod: A}, origin.port, certified(authority, "b")))
    asking = asyncio.create_task(asyncio.to_thread(pod.ask))
    await until(lambda: A.secret in node.xds.asked_for(SECRETS), "Envoy has asked")
    await node.publish(site({pod: A}, origin.port, *(certified(authority, name) for name in ("a", "b"))))
    assert (await asking)["status"] == 200
    assert origin.shown() == [(A.spiffe(DOMAIN),)]


async def test_a_server_that_is_somebody_else_is_refused(
    node: EnvoyNode, pod: Pod, origin: MeshOrigin, authority: Authority
) -> None:
    await node.publish(site({pod: A}, origin.port, certified(authority, "a"), server=B))
    assert (await asyncio.to_thread(pod.ask))["status"] == 503
    assert not origin.seen, "nothing of the request goes to it"


async def test_a_new_certificate_is_used_and_cuts_nothing(
    node: EnvoyNode, pod: Pod, origin: MeshOrigin, authority: Authority
) -> None:
    first = certified(authority, "a")
    await node.publish(site({pod: A}, origin.port, first))
    stream = await asyncio.to_thread(Steady, pod, rate=20)
    await stream.started()
    numbers = origin.serials
    assert set(numbers) == {first.serial}
    following = certified(authority, "a")
    await node.publish(site({pod: A}, origin.port, following))
    await until(lambda: origin.serials[-1] == following.serial, "new connections have the new certificate")
    result = await stream.stop()
    assert result["failed"] == 0, result
    assert not node.xds.rejected()
