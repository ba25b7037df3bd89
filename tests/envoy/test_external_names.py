"""A route to an ExternalName leads where the alias leads."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.configs import service, virtual_service
from tests.support.http_origin import Message, Origin, dial
from tests.support.http_pair import meshed, web

FRONT = service("front", "http:80", ips="10.96.0.2")


def alias(name: str, of: str, ports: str = "") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{type: ExternalName, externalName: {of}{ports}}}
"""


def through(directory: Path, origin: Origin, destination: str, *aliases: str) -> Message:
    """What a client of the service front gets, whose only route leads to this destination."""
    rule = virtual_service("front", "front", f"- route: [{{destination: {destination}}}]")
    name = "front.default.svc.cluster.local:80"
    with meshed(directory, web(origin.port), FRONT, rule, *aliases) as ports, dial(ports[name]) as talk:
        return talk.say(b"GET / HTTP/1.1\r\nHost: front\r\n\r\n").message()


@pytest.mark.case("C7")
@pytest.mark.parametrize("ports", ["", ", ports: [{name: http, port: 80}]"], ids=["without ports", "with ports"])
def test_an_alias_of_a_service_leads_to_its_pods(ports: str, tmp_path: Path) -> None:
    first = alias("old", "older.default.svc.cluster.local.", ports)
    second = alias("older", "web.default.svc.cluster.local", ports)
    with Origin() as origin:
        answer = through(tmp_path, origin, "{host: old}", first, second)
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.case("C7")
def test_an_alias_of_a_name_outside_is_resolved(tmp_path: Path) -> None:
    """localhost is the one name outside of the mesh that every machine resolves."""
    with Origin() as origin:
        destination = f"{{host: outside, port: {{number: {origin.port}}}}}"
        answer = through(tmp_path, origin, destination, alias("outside", "localhost"))
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.case("C7")
def test_a_ring_of_aliases_leads_nowhere(tmp_path: Path) -> None:
    ring = (alias("a", "b.default.svc.cluster.local"), alias("b", "a.default.svc.cluster.local"))
    with Origin() as origin:
        assert through(tmp_path, origin, "{host: a}", *ring).status == 503


def asked(directory: Path, origin: Origin, host: str, *more: str) -> int:
    """The status of a request that names this host to the address of the service web."""
    rule = virtual_service("v", "old", "- directResponse: {status: 418}")
    name = "web.default.svc.cluster.local:80"
    with meshed(directory, web(origin.port), rule, *more) as ports, dial(ports[name]) as talk:
        return talk.say(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).message().status


@pytest.mark.case("C7")
@pytest.mark.parametrize("host", ["old", "old:80", "OLD.default", "old.default.svc", "old.default.svc.cluster.local"])
def test_a_rule_for_an_alias_holds_for_requests_that_name_it(host: str, tmp_path: Path) -> None:
    """A resolver leads them to the service behind the alias."""
    ways = (alias("old", "older.default.svc.cluster.local"), alias("older", "web.default.svc.cluster.local"))
    with Origin() as origin:
        assert asked(tmp_path, origin, host, *ways) == 418


@pytest.mark.case("C7")
@pytest.mark.parametrize("host", ["web", "older", "old.elsewhere"])
def test_a_rule_for_an_alias_leaves_the_service_behind_it_alone(host: str, tmp_path: Path) -> None:
    with Origin() as origin:
        assert asked(tmp_path, origin, host, alias("old", "web.default.svc.cluster.local")) == 200


@pytest.mark.case("C7")
def test_the_short_name_of_an_alias_is_its_own_namespaces(tmp_path: Path) -> None:
    """Envoy's client is in namespace default; the alias is elsewhere, where old means it."""
    far = alias("old", "web.default.svc.cluster.local").replace("namespace: default", "namespace: far")
    rule = virtual_service("v", "old", "- directResponse: {status: 418}", namespace="far")
    name = "web.default.svc.cluster.local:80"
    with Origin() as origin, meshed(tmp_path, web(origin.port), rule, far) as ports:
        for host, status in (("old", 200), ("old.far", 418)):
            with dial(ports[name]) as talk:
                talk.say(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert talk.message().status == status, host
