"""Certificates that a real Envoy reads from files: asked for by name, replaced while requests go on, missing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.envoy_node import EnvoyNode, Pod, Steady, until
from tests.support.envoy_resources import Resources, website
from tests.support.tls_origin import Authority, TlsOrigin

from tidegate.compile.envoy.upstream_tls import file_secrets, secret_names, transport_socket
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import SECRETS, EnvoyResource, ResourceRef
from tidegate.model.traffic import ClientTls, TlsMode, TrafficPolicy

__all__ = ["node", "pod", "upstreams"]
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
RULE = Origin("DestinationRule", "default", "web", "rule.yaml", 3)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "certs")
    made.sign("web", "DNS:web")
    for client in ("client", "next"):
        made.sign(client)
    return made


@pytest.fixture
def origin(authority: Authority) -> Iterator[TlsOrigin]:
    with TlsOrigin(authority, "web", clients=True) as made:
        made.answers["/"] = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"version":"v1"}'
        yield made


def site(pod: Pod, port: int, folder: Path) -> Resources:
    """A website behind mutual TLS, whose connections serve one request each."""
    tls = ClientTls(
        mode=TlsMode.MUTUAL,
        certificate=f"{folder}/client.pem",
        key=f"{folder}/client.key",
        ca=f"{folder}/ca.pem",
        sni="web",
        names=("web",),
    )
    policy = TrafficPolicy(tls=tls)
    options = {
        "@type": f"type.googleapis.com/{OPTIONS}",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    more = {"transport_socket": transport_socket(policy), "typed_extension_protocol_options": {OPTIONS: options}}
    out = website(pod.path, {"v1": port}, {"v1": 1}, **more)
    refs = frozenset(ResourceRef(SECRETS, name) for name in secret_names(policy))
    assert len(refs) == 2
    out[SECRETS] = {name: EnvoyResource(name, body, (RULE,)) for name, body in file_secrets(tls)}
    return out


def replace(folder: Path, name: str, by: str) -> None:
    """As who writes certificates does: beside the file, then moved over it; the key first."""
    for end in ("key", "pem"):
        subprocess.run(["cp", f"{folder}/{by}.{end}", f"{folder}/{name}.{end}.new"], check=True)
        (folder / f"{name}.{end}.new").rename(folder / f"{name}.{end}")


async def test_a_certificate_is_replaced_while_requests_go_on(
    node: EnvoyNode, pod: Pod, origin: TlsOrigin, authority: Authority
) -> None:
    await node.publish(site(pod, origin.port, authority.folder))
    stream = await asyncio.to_thread(Steady, pod, rate=20)
    await stream.started()
    assert {h.client for h in origin.handshakes} == {"client"}
    await asyncio.to_thread(replace, authority.folder, "client", "next")
    await until(lambda: origin.handshakes[-1].client == "next", "new connections have the new certificate")
    result = await stream.stop()
    assert result["failed"] == 0, result


async def test_a_file_that_is_missing_is_named_and_served_when_it_comes(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int], origin: TlsOrigin, authority: Authority
) -> None:
    """Until then nothing goes out in plain text, and others are not concerned."""
    key = authority.folder / "client.key"
    key.rename(key.with_suffix(".away"))
    await node.publish(website(pod.path, {"v2": upstreams["v2"]}, {"v2": 1}))
    await node.publish(site(pod, origin.port, authority.folder))
    found = await until(node.xds.rejected, "what is missing is told")
    assert [(str(key) in o.reason, o.origins) for o in found] == [(True, (str(RULE),))]
    assert (await asyncio.to_thread(pod.ask))["status"] == 503
    assert not origin.seen
    await node.publish(website(pod.path, {"v2": upstreams["v2"]}, {"v2": 1}))
    assert (await asyncio.to_thread(pod.ask))["status"] == 200
    await until(lambda: not node.xds.rejected(), "nobody needs it any more")
    await node.publish(site(pod, origin.port, authority.folder))
    await until(node.xds.rejected, "it is missing again")
    await asyncio.to_thread(key.with_suffix(".away").rename, key)
    await until(lambda: pod.ask()["status"] == 200, "the file is read")
    assert origin.handshakes[-1].client == "client"
    await until(lambda: not node.xds.rejected(), "it was asked for again")
