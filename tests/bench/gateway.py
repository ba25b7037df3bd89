"""`gateway.*`: HTTP from outside through `tidegate gateway`, against the same Envoy with a file written by hand.

Both Envoys stand in the gateway's pod with as many threads, have one route to one server, and the client dials the pod.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench import turns
from tests.bench.contestants import THREADS, Contestant, Route
from tests.bench.loads import AT_THE_GATEWAY, HTTP, SITE, metrics
from tests.bench.processes import Program
from tests.bench.report import results
from tests.bench.sidecars import NETWORK, static_cluster
from tests.bench.topology import MESH_PORT, LabPods, Pod

OWN_PORT = 17201  # base of the Envoy's that nobody of ours told anything
PEER = "envoy_static"


def measured(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """All of them."""
    here = turns.ROOT / "tests/bench"
    pods = LabPods(turns.BIN / "tidegate", here / "pods.yaml", here / "gateway.yaml")
    with ExitStack() as cleanup:
        cleanup.callback(pods.down)
        pods.up()
        contestants = ways(pods, turns.BIN / "envoy")
        cleanup.enter_context(turns.started(pods, contestants, AT_THE_GATEWAY))
        runs = turns.measured(pods, contestants, AT_THE_GATEWAY, rounds, seconds)
    return results(metrics(AT_THE_GATEWAY), runs, [PEER])


def ways(pods: LabPods, envoy: Path) -> list[Contestant]:
    """From pod client, outside the mesh, to the pod's own server: directly, and through either Envoy."""
    gateway = pods.pod("gateway", "edge", enrolled=False)
    return [
        To(pods, "direct", pods.server, MESH_PORT),
        To(pods, "tidegate", gateway, MESH_PORT),
        Static(pods, PEER, gateway, OWN_PORT, envoy),
    ]


class To(Route):
    """What runs in a pod already."""

    def __init__(self, pods: LabPods, name: str, pod: Pod, base: int) -> None:
        super().__init__(pods)
        self.name, self._pod, self._base = name, pod, base

    def address(self) -> tuple[str, int]:
        return self._pod.ip, self._base


class Static(To):
    """An Envoy in the gateway's pod, told everything by a file."""

    def __init__(self, pods: LabPods, name: str, pod: Pod, base: int, envoy: Path) -> None:
        super().__init__(pods, name, pod, base)
        self._envoy = envoy

    def start(self, work: Path) -> None:
        file = work / "static.json"
        file.write_text(json.dumps(bootstrap(self._base + HTTP, self.topology.server.ip, MESH_PORT + HTTP)))
        options = ["--concurrency", str(THREADS), "--disable-hot-restart", "--log-level", "error"]
        self.programs.append(Program(self.name, self._pod.command([str(self._envoy), "-c", str(file), *options])))


def bootstrap(port: int, server: str, server_port: int) -> dict[str, Any]:
    """What one would write who wants this route and nothing else. Clients are strangers: their addresses are theirs."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "site", "domains": [SITE], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {
        "name": "edge",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    return {
        "node": {"id": "edge", "cluster": "bench"},
        "static_resources": {"listeners": [listener], "clusters": [static_cluster("server", server, server_port)]},
    }
