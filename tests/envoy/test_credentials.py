"""Secrets of Kubernetes by which pods begin TLS: what a server sees of them, and what becomes of one that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.configs import config_of, destination_rule
from tests.support.envoy_node import EnvoyNode, Pod, Steady, until
from tests.support.envoy_resources import Resources, website
from tests.support.http_origin import dial
from tests.support.http_pair import meshed, web
from tests.support.tls_origin import Authority, TlsOrigin

from tidegate.compile.envoy.upstream_tls import secret_names, transport_socket
from tidegate.compile.outbound.credentials import pod_secrets
from tidegate.model.plan.envoy import SECRETS, ResourceRef
from tidegate.model.traffic import ClientTls, TlsMode, TrafficPolicy

__all__ = ["node", "pod", "upstreams"]
HOST = "web.default.svc.cluster.local"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SELECTS = "workloadSelector: {matchLabels: {team: a}}"
LABELS = {"team": "a"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("credentials"))
    made.sign("web", f"DNS:{HOST}")
    made.sign("bad", f"DNS:{HOST}")
    made.revoke("bad")
    for client in ("client", "next"):
        made.sign(client)
    return made


def secret(authority: Authority, name: str, *, namespace: str = "default", **files: str) -> str:
    """A Secret: key -> file of the authority's folder. A key has dots where a name here has underscores."""
    lines = "".join(
        f"  {key.replace('_', '.')}: |\n{indent((authority.folder / file).read_text(), '    ')}"
        for key, file in files.items()
    )
    head = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n"
    return "\n" + head + lines


def pair(authority: Authority, client: str = "client", **more: str) -> str:
    return secret(authority, "mine", tls_crt=f"{client}.pem", tls_key=f"{client}.key", ca_crt="ca.pem", **more)


def answer(directory: Path, origin: TlsOrigin, tls: str, *documents: str, port: str = "http") -> int:
    """The status that a client with label team: a gets."""
    rule = destination_rule("d", "web", f"{SELECTS}\ntrafficPolicy: {{tls: {{{tls}}}}}")
    hello = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with (
        origin,
        meshed(directory, web(origin.port, port), rule, *documents, labels=LABELS) as ports,
        dial(ports[f"{HOST}:80"]) as talk,
    ):
        return talk.say(hello).message().status


@pytest.mark.parametrize("port", ["http", "tcp"])
def test_a_client_shows_the_certificate_of_its_namespaces_secret(
    authority: Authority, tmp_path: Path, port: str
) -> None:
    origin = TlsOrigin(authority, "web", clients=True)
    assert answer(tmp_path, origin, "mode: MUTUAL, credentialName: mine", pair(authority), port=port) == 200
    assert [(h.client, h.name) for h in origin.handshakes] == [("client", HOST)]


@pytest.mark.parametrize(
    ("server", "documents", "status"),
    [
        ("web", {"mine": {"ca_crt": "ca.pem"}}, 200),
        ("web", {"mine": {"cacert": "ca.pem"}}, 200),
        ("web", {"mine-cacert": {"cacert": "ca.pem"}}, 200),
        ("bad", {"mine": {"ca_crt": "ca.pem", "ca_crl": "crl.pem"}}, 503),
        ("web", {"mine": {"ca_crt": "client.pem"}}, 503),
    ],
)
def test_a_server_is_believed_whom_the_secrets_authorities_know(
    authority: Authority, tmp_path: Path, server: str, documents: dict[str, dict[str, str]], status: int
) -> None:
    origin = TlsOrigin(authority, server)
    texts = (secret(authority, name, **files) for name, files in documents.items())
    assert answer(tmp_path, origin, "mode: SIMPLE, credentialName: mine", *texts) == status
    assert len(origin.seen) == (status == 200), "nothing goes out in plain text"


def test_what_is_asked_for_is_of_the_rules_namespace_and_nobody_elses(authority: Authority) -> None:
    rule = destination_rule("d", "web", f"{SELECTS}\ntrafficPolicy: {{tls: {{mode: MUTUAL, credentialName: mine}}}}")
    for_all = destination_rule("e", "all", "trafficPolicy: {tls: {mode: MUTUAL, credentialName: theirs}}")
    others = [
        secret(authority, "mine", namespace="other", ca_crt="ca.pem"),
        secret(authority, "theirs", ca_crt="ca.pem"),
    ]
    for own, expected in (
        ([], []),
        ([pair(authority)], ["kubernetes://default/mine", "kubernetes://default/mine-cacert"]),
    ):
        config = config_of(rule, for_all, *others, *own)
        assert list(pod_secrets(config.destination_rules, config.secrets)) == expected


@pytest.fixture
def origin(authority: Authority) -> Iterator[TlsOrigin]:
    with TlsOrigin(authority, "web", clients=True) as made:
        made.answers["/"] = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"version":"v1"}'
        yield made


def site(pod: Pod, port: int, *secrets: str) -> Resources:
    """A website behind mutual TLS by Secret mine, whose connections serve one request each."""
    tls = ClientTls(mode=TlsMode.MUTUAL, credential="default/mine", sni=HOST, names=(HOST,))
    options = {
        "@type": f"type.googleapis.com/{OPTIONS}",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    policy = TrafficPolicy(tls=tls)
    more = {"transport_socket": transport_socket(policy), "typed_extension_protocol_options": {OPTIONS: options}}
    out = website(pod.path, {"v1": port}, {"v1": 1}, **more)
    assert len([ResourceRef(SECRETS, name) for name in secret_names(policy)]) == 2
    rule = destination_rule("d", "web", f"{SELECTS}\ntrafficPolicy: {{tls: {{mode: MUTUAL, credentialName: mine}}}}")
    config = config_of(rule, *secrets)
    out[SECRETS] = dict(pod_secrets(config.destination_rules, config.secrets))
    return out


async def test_a_secret_that_comes_later_serves_and_one_that_changes_cuts_nothing(
    node: EnvoyNode, pod: Pod, origin: TlsOrigin, authority: Authority
) -> None:
    await node.publish(site(pod, origin.port))
    assert (await asyncio.to_thread(pod.ask))["status"] == 503
    assert not origin.seen, "nothing goes out in plain text"
    await node.publish(site(pod, origin.port, pair(authority)))
    await until(lambda: pod.ask()["status"] == 200, "the Secret has come")
    stream = await asyncio.to_thread(Steady, pod, rate=20)
    await stream.started()
    assert {h.client for h in origin.handshakes} == {"client"}
    await node.publish(site(pod, origin.port, pair(authority, "next")))
    await until(lambda: origin.handshakes[-1].client == "next", "new connections have the new certificate")
    result = await stream.stop()
    assert result["failed"] == 0, result
    await node.publish(site(pod, origin.port))
    assert (await asyncio.to_thread(pod.ask))["status"] == 200, "what served goes on serving"
    assert not node.xds.rejected()
