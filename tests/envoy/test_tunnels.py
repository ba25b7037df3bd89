"""Connections that a DestinationRule hands to a proxy: what the proxy is asked, and what goes through."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.configs import destination_rule
from tests.support.http_origin import Conversation, Origin, dial
from tests.support.http_pair import meshed, web
from tests.support.tls_origin import Authority, TlsOrigin

HOST = "web.default.svc.cluster.local"
BEHIND = "targetHost: db.example, targetPort: 5432"
SUBSETS = "subsets: [{name: v1, labels: {app: web}, trafficPolicy: {tunnel: {targetHost: 192.0.2.1, targetPort: 1}}}, "


def accepts(talk: Conversation) -> None:
    """A proxy that connects to somebody who says each line again."""
    talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
    while line := talk.line():
        talk.say(b"you said " + line + b"\n")


def takes_a_body(talk: Conversation) -> None:
    """The same where the request has a body, and the answer one."""
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for chunk in talk._chunks():
        said = b"you said " + chunk
        talk.say(f"{len(said):x}\r\n".encode() + said + b"\r\n")


def refuses(talk: Conversation) -> None:
    talk.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def echo(directory: Path, proxy: Origin, policy: str, *more: str) -> bytes:
    """What a client of a TCP port with this policy hears after it said hello; nothing if it is shut out."""
    rule = destination_rule("d", "web", policy)
    with proxy, meshed(directory, web(proxy.port, "tcp"), rule, *more) as ports, dial(ports[f"{HOST}:80"]) as talk:
        try:
            return talk.say(b"hello\n").line()
        except ConnectionError:
            return b""
        except TimeoutError:
            raise AssertionError(f"nobody answers; asked was {[m.first for m in proxy.seen]}") from None


def test_a_proxy_is_asked_to_connect_to_the_target(tmp_path: Path) -> None:
    proxy = Origin({"db.example:5432": accepts})
    assert echo(tmp_path, proxy, f"trafficPolicy: {{tunnel: {{{BEHIND}}}}}") == b"you said hello"
    (asked,) = proxy.seen
    assert asked.first == b"CONNECT db.example:5432 HTTP/1.1"
    assert asked.headers["host"] == "db.example:5432"


def test_an_address_of_ipv6_stands_in_brackets(tmp_path: Path) -> None:
    proxy = Origin({"[fd00::1]:443": accepts})
    policy = "trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: 'fd00::1', targetPort: 443}}"
    assert echo(tmp_path, proxy, policy) == b"you said hello"


def test_by_post_the_connection_is_the_body(tmp_path: Path) -> None:
    proxy = Origin({"/": takes_a_body, "db.example:5432": accepts})
    assert echo(tmp_path, proxy, f"trafficPolicy: {{tunnel: {{protocol: POST, {BEHIND}}}}}") == b"you said hello"
    (asked,) = proxy.seen
    assert (asked.first, asked.headers["host"]) == (b"POST / HTTP/1.1", "db.example:5432")


def test_whom_the_proxy_refuses_is_shut_out(tmp_path: Path) -> None:
    proxy = Origin({"db.example:5432": refuses})
    assert echo(tmp_path, proxy, f"trafficPolicy: {{tunnel: {{{BEHIND}}}}}") == b""
    assert {m.first for m in proxy.seen} == {b"CONNECT db.example:5432 HTTP/1.1"}, "it is asked again, not passed by"


def test_the_way_to_the_proxy_may_be_tls(tmp_path: Path) -> None:
    """What it is told inside is in HTTP/1.1 then, as it is without."""
    authority = Authority(tmp_path / "tls" / "default" / "certs")
    authority.sign("web", f"DNS:{HOST}")
    proxy = TlsOrigin(authority, "web")
    proxy.answers["db.example:5432"] = accepts
    policy = f"trafficPolicy: {{tunnel: {{{BEHIND}}}, tls: {{mode: SIMPLE, caCertificates: /certs/ca.pem}}}}"
    assert echo(tmp_path, proxy, policy) == b"you said hello"
    assert [h.name for h in proxy.handshakes] == [HOST]


ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: default}}
spec:
  hosts: [web]
  tcp: [{{route: [{}]}}]
"""
TO = "{{destination: {{host: web, subset: {}}}, weight: {}}}"


@pytest.mark.parametrize(
    ("targets", "asked"),
    [
        ([("v1", 1)], {b"CONNECT 192.0.2.1:1 HTTP/1.1"}),
        ([("v2", 1)], {b"CONNECT db.example:5432 HTTP/1.1"}),
        ([("v1", 1), ("v2", 0)], {b"CONNECT 192.0.2.1:1 HTTP/1.1"}),
        ([("v2", 1), ("v3", 1)], {b"CONNECT db.example:5432 HTTP/1.1"}),
        ([("v1", 1), ("v2", 1)], set()),
    ],
)
def test_a_subset_may_have_a_tunnel_of_its_own(
    targets: list[tuple[str, int]], asked: set[bytes], tmp_path: Path
) -> None:
    """One filter forwards to all destinations of a route, through one tunnel: of several none would be right."""
    proxy = Origin({"192.0.2.1:1": accepts, "db.example:5432": accepts})
    more = "{name: v2, labels: {app: web}}, {name: v3, labels: {app: web}}]"
    route = ROUTE.format(", ".join(TO.format(*target) for target in targets))
    heard = echo(tmp_path, proxy, f"{SUBSETS}{more}\ntrafficPolicy: {{tunnel: {{{BEHIND}}}}}", route)
    assert {m.first for m in proxy.seen} == asked
    assert bool(proxy.connections) == bool(asked), "without a request nothing gets there"
    assert heard == (b"you said hello" if asked else b"")
