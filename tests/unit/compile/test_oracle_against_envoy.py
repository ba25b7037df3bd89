"""The same vectors on the real Envoy: what we emit and what the oracle says must both be what Envoy does."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.envoy_static import ENVOY
from tests.support.eventually import eventually
from tests.support.http_vectors import HOST, Vector, vectors

from tidegate.compile.destinations import find_destinations
from tidegate.compile.listeners import filter_chain
from tidegate.compile.registry import Registry
from tidegate.compile.routes import RouteCompiler
from tidegate.compile.rules import Rules
from tidegate.model.http import HttpRequest

ALL = tuple(vectors())


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def listener(vector: Vector, port: int) -> dict[str, object]:
    """The service's own filter chain, on a port of its own and with the routes inside."""
    registry, rules = Registry(vector.config), Rules(vector.config)
    (claim,) = find_destinations(registry, rules).claims
    compiled = RouteCompiler(registry, rules).compile(claim.service, claim.port, vector.source)
    chain = filter_chain(claim, compiled.resource.name)
    del chain["filter_chain_match"]
    manager = chain["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = dict(compiled.resource.body)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": vector.name, "address": address, "filter_chains": [chain]}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    chosen = dict(zip((v.name for v in ALL), free_ports(len(ALL)), strict=True))
    directory: Path = tmp_path_factory.mktemp("envoy")
    config = directory / "bootstrap.json"
    # A rule whose routes are all for others leaves the default route, which needs the cluster.
    static = {"listeners": [listener(v, chosen[v.name]) for v in ALL]}
    config.write_text(json.dumps({"static_resources": static}))
    command = [str(ENVOY), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: all(_open(p) for p in chosen.values()), f"Envoy listens, see {log.name}", timeout=20)
        yield chosen
    finally:
        process.terminate()
        process.wait(10)


def _open(port: int) -> bool:
    with closing(socket.socket()) as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, request: HttpRequest) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", request.authority)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
    assert answer.status in (200, 404), (request, answer.status, body)
    return body if answer.status == 200 else None


@pytest.mark.parametrize("vector", ALL, ids=lambda v: v.name)
def test_envoy_agrees(vector: Vector, ports: dict[str, int]) -> None:
    wrong = [(r, e, got) for r, e in vector.cases if (got := ask(ports[vector.name], r)) != e]
    assert not wrong, f"{HOST}: request, expected, got"
