"""TLS that begins behind the application, and the PROXY protocol: what a server sees of a DestinationRule."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.configs import destination_rule
from tests.support.http_origin import Message, Origin, dial
from tests.support.http_pair import meshed, web
from tests.support.tls_origin import Authority, ProxiedOrigin, ProxiedTlsOrigin, TlsOrigin

NAME = "web.default.svc.cluster.local:80"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its folder is that of namespace default."""
    made = Authority(tmp_path_factory.mktemp("policy") / "tls" / "default" / "certs")
    made.sign("web", "DNS:web", "DNS:*.wild.example", "URI:spiffe://here/web", "IP:127.0.0.1")
    made.sign("other", "DNS:other.example")
    made.sign("client", "DNS:client")
    made.sign("revoked", "DNS:web")
    made.revoke("revoked")
    return made


def ask(authority: Authority, tmp_path: Path, origin: Origin, policy: str, host: str = "web") -> Message:
    """What a client gets that asks a service with this policy for a host in plain text."""
    (tmp_path / "tls").symlink_to(authority.folder.parents[1])
    rule = destination_rule("d", "web", policy)
    with origin, meshed(tmp_path, web(origin.port), rule) as ports, dial(ports[NAME]) as talk:
        return talk.say(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).message()


def tls(words: str) -> str:
    return f"trafficPolicy: {{tls: {{{words}}}}}"


CA = "mode: SIMPLE, caCertificates: /certs/ca.pem"


@pytest.mark.api("TLSSettings.TLSmode.SIMPLE", "TLSSettings.mode", "TrafficPolicy.tls")
def test_a_server_is_asked_for_and_checked_by_the_host_of_the_request(authority: Authority, tmp_path: Path) -> None:
    origin = TlsOrigin(authority, "web")
    assert ask(authority, tmp_path, origin, tls(CA)).status == 200
    assert [(h.name, h.protocol, h.client) for h in origin.handshakes] == [("web", "http/1.1", "")]


@pytest.mark.api("TLSSettings.caCertificates", "TLSSettings.subjectAltNames", "TLSSettings.sni")
@pytest.mark.parametrize(
    ("server", "words", "host", "status", "name"),
    [
        ("other", CA, "web", 503, None),
        ("web", CA, "a.wild.example", 200, "a.wild.example"),
        ("other", f"{CA}, sni: other.example", "web", 200, "other.example"),
        ("other", f"{CA}, subjectAltNames: [other.example]", "web", 200, "web"),
        ("web", f"{CA}, subjectAltNames: ['spiffe://here/web']", "nobody", 200, "nobody"),
        ("web", f"{CA}, subjectAltNames: [127.0.0.1]", "nobody", 200, "nobody"),
        ("web", f"{CA}, subjectAltNames: [b.wild.example]", "nobody", 200, "nobody"),
        ("web", f"{CA}, subjectAltNames: [other.example, elsewhere]", "web", 503, None),
        ("web", "mode: SIMPLE", "web", 503, None),
        ("other", "mode: SIMPLE, insecureSkipVerify: true", "web", 200, "web"),
        ("web", f"{CA}, caCrl: /certs/crl.pem", "web", 200, "web"),
        ("revoked", f"{CA}, caCrl: /certs/crl.pem", "web", 503, None),
        ("revoked", CA, "web", 200, "web"),
    ],
)
def test_which_servers_are_believed(
    authority: Authority, tmp_path: Path, server: str, words: str, host: str, status: int, name: str | None
) -> None:
    origin = TlsOrigin(authority, server)
    assert ask(authority, tmp_path, origin, tls(words), host).status == status
    if status == 200:
        assert [h.name for h in origin.handshakes] == [name]
    assert len(origin.seen) == (status == 200)


@pytest.mark.api("TLSSettings.TLSmode.MUTUAL", "TLSSettings.clientCertificate", "TLSSettings.privateKey")
def test_a_client_shows_its_certificate(authority: Authority, tmp_path: Path) -> None:
    origin = TlsOrigin(authority, "web", clients=True)
    files = "caCertificates: certs/ca.pem, clientCertificate: /certs/client.pem, privateKey: /certs/client.key"
    words = f"mode: MUTUAL, {files}"
    assert ask(authority, tmp_path, origin, tls(words)).status == 200
    assert [h.client for h in origin.handshakes] == ["client"]


def test_without_its_certificate_a_client_is_turned_away(authority: Authority, tmp_path: Path) -> None:
    origin = TlsOrigin(authority, "web", clients=True)
    assert ask(authority, tmp_path, origin, tls(CA)).status == 503
    assert origin.seen == []


def test_http2_is_said_in_the_handshake_where_it_is_spoken(authority: Authority, tmp_path: Path) -> None:
    origin = TlsOrigin(authority, "web")
    policy = f"{tls(CA)[:-1]}, connectionPool: {{http: {{h2UpgradePolicy: UPGRADE}}}}}}"
    assert ask(authority, tmp_path, origin, policy).status == 503
    assert "h2" in [h.protocol for h in origin.handshakes]


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_proxy_protocol_says_who_asks(authority: Authority, tmp_path: Path, version: str) -> None:
    origin = ProxiedOrigin()
    answer = ask(authority, tmp_path, origin, f"trafficPolicy: {{proxyProtocol: {{version: {version}}}}}")
    assert (answer.status, len(origin.seen)) == (200, 1)
    (header,) = origin.headers
    if version == "V1":
        words = header.decode().split()
        assert words[:3] == ["PROXY", "TCP4", "127.0.0.1"], header
    else:
        assert header[:12] == b"\r\n\r\n\0\r\nQUIT\n"
        assert header[12:14] == b"\x21\x11", "version 2, TCP over IPv4"
        assert header[16:20] == b"\x7f\0\0\1"


def test_the_proxy_protocol_stands_before_tls(authority: Authority, tmp_path: Path) -> None:
    origin = ProxiedTlsOrigin(authority, "web")
    assert ask(authority, tmp_path, origin, f"{tls(CA)[:-1]}, proxyProtocol: {{}}}}").status == 200
    assert origin.headers[0].startswith(b"PROXY TCP4 ")
    assert [h.name for h in origin.handshakes] == ["web"]


@pytest.mark.api("TLSSettings.TLSmode.DISABLE", "TrafficPolicy.PortTrafficPolicy.tls")
@pytest.mark.parametrize(("mode", "status"), [("mode: DISABLE", 503), (CA, 200)])
def test_a_port_has_tls_of_its_own_or_none(authority: Authority, tmp_path: Path, mode: str, status: int) -> None:
    """In place of what holds for the others."""
    (tmp_path / "tls").symlink_to(authority.folder.parents[1])
    entry = f"portLevelSettings: [{{port: {{number: 80}}, tls: {{{mode}}}}}]"
    rule = destination_rule("d", "web", f"trafficPolicy: {{tls: {{mode: SIMPLE}}, {entry}}}")
    with TlsOrigin(authority, "web") as origin, meshed(tmp_path, web(origin.port), rule) as ports:
        with dial(ports["web.default.svc.cluster.local:80"]) as talk:
            assert talk.say(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").message().status == status
        assert len(origin.handshakes) == (status == 200)
