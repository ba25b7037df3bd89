"""The same vectors on the real Envoy: what we emit and what the oracle says must both be what Envoy does."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.envoy_static import ENVOY
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.http_vectors import HOST, Vector, vectors

from tidegate.compile.derive import Read
from tidegate.compile.envoy.filters import connection_manager
from tidegate.compile.facts import join
from tidegate.compile.outbound.destinations import claims
from tidegate.compile.outbound.routes import RouteCompiler
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.http import HttpRequest

ALL = tuple(vectors())
CLIENT = "default/client"
ANY_PORT = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def listener(vector: Vector) -> dict[str, object]:
    """The connection manager of a pod, on a port that the kernel chooses, whatever is dialled, and with the routes
    inside."""
    read = Read(join(vector.config, ()).tables)
    registry, rules = Registry(read), Rules(read)
    (claim,) = (claim for fqdn in registry.services for claim in read(claims, fqdn))
    routes = RouteCompiler(registry, rules, {CLIENT: vector.source}).compile(claim.service, claim.port)
    manager = connection_manager(CLIENT, 1)
    config = manager["typed_config"]
    del config["scoped_routes"]
    config["http_filters"] = [f for f in config["http_filters"] if f["name"] != "envoy.filters.http.on_demand"]
    config["route_config"] = dict(routes.body)
    return {"name": vector.name, "address": ANY_PORT, "filter_chains": [{"filters": [manager]}]}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    directory: Path = tmp_path_factory.mktemp("envoy")
    config, log, admin = directory / "bootstrap.json", directory / "log", directory / "admin"
    static = {"listeners": [listener(v) for v in ALL]}
    config.write_text(json.dumps({"admin": {"address": ANY_PORT}, "static_resources": static}))
    command = [str(ENVOY), "-c", str(config), "--admin-address-path", str(admin), "--use-dynamic-base-id"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--concurrency", "1", "--log-level", "warn"], stdout=output, stderr=output
        )

    def listening() -> dict[str, int]:
        if process.poll() is not None:
            raise RuntimeError(f"Envoy ended with {process.returncode}:\n{log.read_text()}")
        address = admin.read_text() if admin.exists() else ""
        return _ports(address) if address else {}

    try:
        yield eventually(listening, "Envoy listens")
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)


def _ports(admin: str) -> dict[str, int]:
    """Port of each listener by its name; empty until all are there."""
    host, _, port = admin.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=HANG_SECONDS)) as connection:
        try:
            connection.request("GET", "/listeners?format=json")
            found = json.loads(connection.getresponse().read()).get("listener_statuses", [])
        except OSError:
            return {}
    chosen = {f["name"]: f["local_address"]["socket_address"]["port_value"] for f in found}
    return chosen if len(chosen) == len(ALL) else {}


def ask(port: int, request: HttpRequest) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)
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
