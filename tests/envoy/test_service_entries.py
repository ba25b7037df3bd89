"""What Envoy makes of hosts of ServiceEntries: each way in which endpoints are found, with a request through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.support.configs import destination_rule, virtual_service
from tests.support.eventually import eventually
from tests.support.http_origin import Message, Origin, dial
from tests.support.http_pair import meshed

from tidegate.model.sockets import allow_unix_endpoints


@pytest.fixture(autouse=True)
def nothing_is_allowed_afterwards() -> Iterator[None]:
    yield
    allow_unix_endpoints(None)


def entry(spec: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside}}
spec: {{hosts: [outside.example], ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}
"""


def ask(directory: Path, *documents: str) -> Message:
    with meshed(directory, *documents) as ports, dial(ports["outside.example:80"]) as talk:
        return talk.say(b"GET / HTTP/1.1\r\nHost: outside.example\r\n\r\n").message()


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_a_name_is_resolved_and_asked_at_the_port_of_the_endpoint(resolution: str, tmp_path: Path) -> None:
    """localhost is the one name outside of the mesh that every machine resolves."""
    with Origin() as origin:
        endpoints = f"endpoints: [{{address: localhost, ports: {{http: {origin.port}}}}}]"
        answer = ask(tmp_path, entry(f"resolution: {resolution}, {endpoints}"))
    assert (answer.status, answer.body) == (200, b"ok")


def test_a_name_is_asked_as_often_as_the_mesh_says(tmp_path: Path) -> None:
    """A minute if it does not; Envoy counts."""
    rate = """
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: istio, namespace: istio-system}
    data: {mesh: "dnsRefreshRate: 20ms"}
    """

    def questions() -> int:
        address = (tmp_path / "admin").read_text()
        with urlopen(f"http://{address}/stats?filter=outside.example.*update_attempt&format=json") as answer:
            return int(json.load(answer)["stats"][0]["value"])

    with meshed(tmp_path, entry("resolution: DNS, endpoints: [{address: localhost}]"), rate):
        eventually(lambda: questions() > 5, "it is asked again and again")


@pytest.mark.api("ServiceEntry.Endpoint.labels")
def test_a_subset_is_the_endpoints_with_its_labels(tmp_path: Path) -> None:
    ways = "[{destination: {host: outside.example, subset: new}}]"
    with Origin() as old, Origin() as new:
        endpoints = ", ".join(
            f"{{address: localhost, ports: {{http: {o.port}}}, labels: {{version: {v}}}}}"
            for o, v in ((old, "v1"), (new, "v2"))
        )
        documents = (
            entry(f"resolution: DNS, endpoints: [{endpoints}]"),
            destination_rule("d", "outside.example", "subsets: [{name: new, labels: {version: v2}}]"),
            virtual_service("v", "outside.example", f"- route: {ways}"),
        )
        with meshed(tmp_path, *documents) as ports:
            for _ in range(3):
                with dial(ports["outside.example:80"]) as talk:
                    hello = b"GET / HTTP/1.1\r\nHost: outside.example\r\n\r\n"
                    assert talk.say(hello).message().status == 200
    assert (len(old.seen), len(new.seen)) == (0, 3)


def test_a_unix_socket_of_the_node_answers(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir()
    allow_unix_endpoints(directory)
    with Origin(path=directory / "socket") as origin:
        answer = ask(tmp_path, entry(f"resolution: STATIC, endpoints: [{{address: 'unix://{origin.path}'}}]"))
    assert (answer.status, answer.body) == (200, b"ok")


def test_an_entry_whose_endpoints_are_away_answers_503(tmp_path: Path) -> None:
    assert ask(tmp_path, entry("addresses: [10.9.0.1], resolution: STATIC")).status == 503
