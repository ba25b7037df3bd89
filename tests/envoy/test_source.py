"""From which network namespace Envoy asks: the one that the listener of a connection names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.configs import service, virtual_service
from tests.support.http_origin import Origin, dial
from tests.support.http_pair import meshed, web

WEB, FRONT = "web.default.svc.cluster.local:80", "front.default.svc.cluster.local:80"
TO_WEB = (
    service("front", "http:80", ips="10.96.0.2"),
    virtual_service("front", "front", "- route: [{destination: {host: web}}]"),
)


def ask(port: int) -> int:
    with dial(port) as talk:
        return talk.say(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").message().status


@pytest.mark.case("C9")
def test_pods_share_no_connection(tmp_path: Path) -> None:
    """Two names of the namespace that Envoy is in."""
    names = {WEB: f"/proc/{os.getpid()}/ns/net", FRONT: f"/proc/{os.getpid()}/task/{os.getpid()}/ns/net"}
    with Origin() as origin, meshed(tmp_path, web(origin.port), *TO_WEB, netns=names) as ports:
        assert [ask(ports[name]) for name in (WEB, FRONT, WEB, FRONT)] == [200] * 4
        assert origin.connections == 2, "one for each pod, used again"


@pytest.mark.case("C9")
@pytest.mark.parametrize("gone", ["absent", "a file"])
def test_a_namespace_that_is_gone_costs_its_own_requests_only(gone: str, tmp_path: Path) -> None:
    path = tmp_path / "netns"
    if gone == "a file":
        path.touch()
    with Origin() as origin, meshed(tmp_path, web(origin.port), *TO_WEB, netns={FRONT: str(path)}) as ports:
        assert [ask(ports[name]) for name in (FRONT, WEB, FRONT, WEB)] == [503, 200, 503, 200]
