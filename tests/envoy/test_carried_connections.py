"""Connections without HTTP that Envoy carries: what a server sees of them, and what becomes of those that live."""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.configs import destination_rule
from tests.support.envoy_node import EnvoyNode, Pod
from tests.support.envoy_resources import CAPTURE, CAPTURE_PORT, website
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.http_origin import Origin, dial
from tests.support.http_pair import meshed, web
from tests.support.tls_origin import Authority, ProxiedOrigin, ProxiedTlsOrigin, TlsOrigin

from tidegate.compile.outbound.forwards import CarriedPort, with_forwards
from tidegate.dataplane.appliers.kept_chains import with_kept
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS
from tidegate.telemetry.carried import PATH, CarriedCounter, parse

__all__ = ["node", "pod", "upstreams"]
HOST = "web.default.svc.cluster.local"
CA = "mode: SIMPLE, caCertificates: /certs/ca.pem"
# A line from a pod every time that one comes on standard input, and what comes back for it.
TALK = (
    "import socket,sys\n"
    "io = socket.create_connection(sys.argv[1:]).makefile('rwb', 0)\n"
    "for line in sys.stdin:\n"
    "    io.write(b'GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n')\n"
    "    head = iter(io.readline, b'\\r\\n')\n"
    "    size = max(int(h.split()[1]) for h in head if h.lower().startswith(b'content-length') or not h)\n"
    "    print(len(io.read(size)) == size, flush=True)\n"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its folder is that of namespace default."""
    made = Authority(tmp_path_factory.mktemp("carried") / "tls" / "default" / "certs")
    made.sign("web", f"DNS:{HOST}")
    made.sign("other", "DNS:other.example")
    made.sign("client", "DNS:client")
    return made


def reaches(authority: Authority, tmp_path: Path, origin: Origin, policy: str) -> bool:
    """Whether the server of a TCP port with this policy says something to a client that speaks plain text."""
    (tmp_path / "tls").symlink_to(authority.folder.parents[1])
    rule = destination_rule("d", "web", f"trafficPolicy: {{{policy}}}")
    with origin, meshed(tmp_path, web(origin.port, "tcp"), rule) as ports, dial(ports[f"{HOST}:80"]) as talk:
        try:
            return talk.say(b"GET / HTTP/1.1\r\nHost: anything\r\n\r\n").message().status == 200
        except (EOFError, ConnectionError):
            return False


@pytest.mark.parametrize(
    ("server", "words", "reached", "name"),
    [
        ("web", CA, True, HOST),
        ("other", CA, True, HOST),
        ("web", f"{CA}, sni: a.example", True, "a.example"),
        ("other", f"{CA}, subjectAltNames: [other.example]", True, HOST),
        ("web", f"{CA}, subjectAltNames: [other.example]", False, None),
        ("web", "mode: SIMPLE", False, None),
        ("other", "mode: SIMPLE, insecureSkipVerify: true", True, HOST),
    ],
)
def test_which_servers_are_believed(
    authority: Authority, tmp_path: Path, server: str, words: str, reached: bool, name: str | None
) -> None:
    origin = TlsOrigin(authority, server)
    assert reaches(authority, tmp_path, origin, f"tls: {{{words}}}") == reached
    assert [h.name for h in origin.handshakes] == ([name] if reached else [])


def test_a_client_shows_its_certificate(authority: Authority, tmp_path: Path) -> None:
    origin = TlsOrigin(authority, "web", clients=True)
    files = "caCertificates: certs/ca.pem, clientCertificate: /certs/client.pem, privateKey: /certs/client.key"
    assert reaches(authority, tmp_path, origin, f"tls: {{mode: MUTUAL, {files}}}")
    assert [(h.client, h.protocol) for h in origin.handshakes] == [("client", None)]


@pytest.mark.parametrize(
    ("version", "start"), [("V1", b"PROXY TCP4 127.0.0.1 "), ("V2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11")]
)
def test_the_proxy_protocol_says_who_asks(authority: Authority, tmp_path: Path, version: str, start: bytes) -> None:
    origin = ProxiedOrigin()
    assert reaches(authority, tmp_path, origin, f"proxyProtocol: {{version: {version}}}")
    assert [header.startswith(start) for header in origin.headers] == [True]


def test_the_proxy_protocol_stands_before_tls(authority: Authority, tmp_path: Path) -> None:
    origin = ProxiedTlsOrigin(authority, "web")
    assert reaches(authority, tmp_path, origin, f"tls: {{{CA}}}, proxyProtocol: {{}}")
    assert [h.name for h in origin.handshakes] == [HOST]


def counted(directory: Path) -> dict[CarriedCounter, int]:
    """What the Envoy of meshed() says of the connections that it carried."""
    asked = http.client.HTTPConnection((directory / "admin").read_text().strip(), timeout=HANG_SECONDS)
    with closing(asked):
        asked.request("GET", PATH)
        return parse(asked.getresponse().read().decode())


def test_connections_are_counted_by_who_was_asked_and_who_served(tmp_path: Path) -> None:
    rule = destination_rule("d", "web", "trafficPolicy: {proxyProtocol: {version: V1}}")
    here, asked = ip_address("127.0.0.1"), f"{HOST}:80"
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with ProxiedOrigin() as served, meshed(tmp_path, web(served.port, "tcp"), rule) as ports:
        for _ in range(2):
            with dial(ports[asked]) as talk:
                assert talk.say(request).message().status == 200
        closed = CarriedCounter("carried_closed", 0, asked, here, connected=True)
        eventually(lambda: counted(tmp_path).get(closed) == 2, "both are over")
        found = {key.what: value for key, value in counted(tmp_path).items()}
    assert found["carried_opened"] == 2
    assert found["carried_received"] == 2 * len(request)
    assert found["carried_sent"] > 2 * len(b"HTTP/1.1 200 OK")


def test_a_connection_that_never_got_through_is_told_apart(tmp_path: Path) -> None:
    rule = destination_rule("d", "web", "trafficPolicy: {proxyProtocol: {version: V1}}")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with meshed(tmp_path, web(nobody.getsockname()[1], "tcp"), rule) as ports:
            with socket.create_connection(("127.0.0.1", ports[f"{HOST}:80"]), HANG_SECONDS) as plain:
                assert plain.recv(1) == b""
            eventually(lambda: any(key.what == "carried_closed" for key in counted(tmp_path)), "it is over")
            found = {key: value for key, value in counted(tmp_path).items() if value}
    tried = CarriedCounter("carried_closed", 0, f"{HOST}:80", ip_address("127.0.0.1"), connected=False)
    assert found == {tried: 1}


async def test_a_connection_outlives_the_rule_by_which_envoy_carries_it(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    """Whoever loses its chain in Envoy's listener is ended a while later, so none is lost."""
    plain = website(pod.path, upstreams, {"v1": 1})
    listener = plain[LISTENERS]["pod"]
    chain = CarriedPort("web:1", CAPTURE_PORT, (ip_address(CAPTURE),), (("web-v1", 1),))
    ruled = {**plain, LISTENERS: {"pod": with_forwards(listener, [chain], "")}}
    await node.publish(ruled)
    words = ["ip", "netns", "exec", pod.name, "/usr/bin/python3", "-c", TALK, CAPTURE, str(CAPTURE_PORT)]
    pipe = subprocess.PIPE
    with await asyncio.to_thread(subprocess.Popen, words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as talk:
        assert talk.stdin
        assert talk.stdout
        print("one", file=talk.stdin)
        assert await asyncio.to_thread(talk.stdout.readline) == "True\n"
        kept = with_kept(ruled[LISTENERS]["pod"], replace(listener), plain[CLUSTERS])
        changed = website(pod.path, upstreams, {"v1": 1}, connect_timeout="3s")
        await node.publish({**changed, LISTENERS: {"pod": kept}})
        assert node.stat("listener_manager.total_filter_chains_draining") == 0
        assert node.stat("listener_manager.total_listeners_draining") == 0
        print("two", file=talk.stdin)
        assert await asyncio.to_thread(talk.stdout.readline) == "True\n", "though its cluster is another one now"
        talk.stdin.close()
