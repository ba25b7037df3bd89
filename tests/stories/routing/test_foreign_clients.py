"""Clients that are not ours beside pods of the mesh: an Envoy that somebody started by hand and a gRPC client without a
proxy, both told by a node's agent. What rules say holds for all three, and the agent says how they do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.foreign_envoy import AGGREGATED
from tests.support.lab import MANIFESTS, ROOT, Lab

PYTHON, ENVOY = ROOT / ".venv/bin/python", ROOT / ".venv/bin/envoy"
SERVICE, CALLER = ROOT / "tests/support/grpc_service.py", ROOT / "tests/support/xds_caller.py"
# They are in no mesh: their namespace has no label, and what they dial is their own business.
OUTSIDE = """
apiVersion: v1
kind: Namespace
metadata: {name: outside}
"""
POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: outside}}
spec:
  containers:
  - name: c
    command: ["/bin/sleep", "infinity"]
    env: [{{name: NODE_IP, valueFrom: {{fieldRef: {{fieldPath: status.hostIP}}}}}}]
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: story}
spec:
  hosts: [story]
  http:
  - route: [{destination: {host: story, subset: %s}}]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab("others")
    lab.env["TIDEGATE_XDS_LISTEN"] = "0.0.0.0:15010"
    outside = tmp_path_factory.mktemp("outside") / "outside.yaml"
    outside.write_text(OUTSIDE + POD.format(name="envoy") + POD.format(name="caller"))
    lab.up(MANIFESTS / "grpc.yaml", outside)
    yield lab
    lab.down()


@pytest.fixture
def server(lab: Lab) -> str:
    """Where the agent of the node listens, as pods of it see that."""
    return lab.exec("caller", "/bin/sh", "-c", "echo $NODE_IP", namespace="outside").stdout.strip()


@pytest.fixture
def envoy(lab: Lab, server: str, tmp_path: Path) -> Iterator[None]:
    """An Envoy in a pod of its own."""
    text = AGGREGATED.format(admin=tmp_path / "admin.sock", api_type="DELTA_GRPC", socket="")
    here, there = "address: 127.0.0.1, port_value: 15010", f"address: {server}, port_value: 15010"
    (tmp_path / "envoy.yaml").write_text(text.replace(here, there))
    options = ("--service-node", "envoy-1", "--service-cluster", "demo", "--disable-hot-restart", "--concurrency", "1")
    process = lab.start("envoy", ENVOY, "-c", tmp_path / "envoy.yaml", "-l", "error", *options, namespace="outside")
    yield
    process.kill()
    process.communicate()


def by_mesh(lab: Lab) -> dict[str, Any]:
    """Which version answers a pod of the mesh."""
    return asked(lab, "client", "default", "dns:///story:50051")


def by_envoy(lab: Lab) -> dict[str, Any]:
    """Which version answers who dials the Envoy beside it. Of its port nobody else has, so any host is the service."""
    return asked(lab, "envoy", "outside", "dns:///127.0.0.1:50052")


def asked(lab: Lab, pod: str, namespace: str, target: str) -> dict[str, Any]:
    done = lab.exec(pod, PYTHON, SERVICE, "ask", target, "--count", "8", namespace=namespace)
    told: dict[str, Any] = json.loads(done.stdout)
    return dict(told["versions"])


class GrpcClient:
    """gRPC's own client, which stays connected; it has no proxy and reads its bootstrap once."""

    def __init__(self, lab: Lab, server: str) -> None:
        bootstrap = {
            "xds_servers": [
                {
                    "server_uri": f"{server}:15010",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "sidecar~10.0.0.9~caller.outside~x", "metadata": {"GENERATOR": "grpc"}},
        }
        told = f"GRPC_XDS_BOOTSTRAP_CONFIG={json.dumps(bootstrap)}"
        command: list[str | Path] = [
            "lab",
            "exec",
            "-n",
            "outside",
            "caller",
            "--",
            "/usr/bin/env",
            told,
            PYTHON,
            CALLER,
        ]
        self._process = subprocess.Popen(
            [*lab.program, *command], env=lab.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def versions(self) -> dict[str, Any]:
        return dict(self.order(ask="xds:///story.default:50051", count=8)["versions"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def grpc_client(lab: Lab, server: str) -> Iterator[GrpcClient]:
    made = GrpcClient(lab, server)
    yield made
    made.close()


def follows(versions: Callable[[], dict[str, Any]], wanted: dict[str, int], who: str) -> None:
    """Others learn of a rule a moment after it was applied."""

    def look() -> bool:
        try:
            return versions() == wanted
        except AssertionError:
            return False

    eventually(look, f"{who} does what the rule says: {wanted}")


@pytest.mark.usefixtures("envoy")
def test_a_rule_holds_for_a_pod_an_envoy_by_hand_and_a_grpc_client(lab: Lab, grpc_client: GrpcClient) -> None:
    for version in ("v1", "v2"):
        lab.apply(RULE % version)
        assert by_mesh(lab) == {version: 8}
        wanted = {version: 8}
        follows(lambda: by_envoy(lab), wanted, "the Envoy")
        follows(grpc_client.versions, wanted, "the client without a proxy")

    def known() -> bool:
        others = lab.status()["others"]
        assert others["clients"] == {"sidecar": 1, "grpc": 1}, others
        assert (others["synced"], others["refusals"], others["left_out"]) == (2, 0, []), others
        return True

    eventually(known, "both have all that they asked for, and refuse nothing")
    assert {state for kind in grpc_client.order(status=1).values() for state in kind.values()} == {"ACKED"}
    assert lab.metric("tidegate_xds_clients", flavour="grpc") == 1
    assert lab.metric("tidegate_xds_responses_total", kind="clusters") > 0
    assert (
        "others  on 0.0.0.0:15010: 1 grpc, 1 sidecar, 2 of them in sync" in lab.tidegate("status", check=False).stdout
    )
