"""A node without Kubernetes: podman and runc start containers through the reference plugins and ours."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.containers import ContainerNode
from tests.support.eventually import eventually
from tests.support.footprint import footprint, left

DOCUMENTS = Path(__file__).resolve().parents[2] / "support" / "manifests" / "containers.yaml"
TCP, WEB = "10.97.0.1", "10.97.0.2"
SLEEP = ("sleep", "infinity")
SERVE = ("python3", "/tests/support/probe.py", "serve", "7000")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerNode]:
    before = footprint("tgc")
    node = ContainerNode("st", tmp_path_factory.mktemp("node"), "10.94.7.0/24")
    try:
        (node.config / "containers.yaml").write_text(DOCUMENTS.read_text())
        node.cni("install", "--conflist", "10-mesh.conflist")
        node.start_agent()
        node.start("tcp", *SERVE)
        for name in ("web-1", "web-2"):
            node.start(name, "python3", "/tests/support/web.py", "8080")
        node.start("client", *SLEEP)
        yield node
    finally:
        node.close()
    eventually(lambda: not left(before, footprint("tgc")), "nothing is left")


def dial(node: ContainerNode, name: str, host: str, port: int) -> Any:
    return node.in_container(name, "python3", "/tests/support/probe.py", "dial", host, str(port))


def get(node: ContainerNode, *headers: str) -> Any:
    return node.in_container("client", "python3", "/tests/support/ask.py", f"http://{WEB}/", *headers)


def serves(node: ContainerNode) -> bool:
    return "server" in dial(node, "client", TCP, 700) and get(node)["status"] == 200


def test_containers_with_a_pod_document_are_enrolled(node: ContainerNode) -> None:
    why = "namespace label istio.io/dataplane-mode=ambient"
    assert node.pods() == {f"default/{name}": ("enrolled", why) for name in ("client", "tcp", "web-1", "web-2")}


def test_tcp_to_a_service_address_shows_the_server_the_client_container(node: ContainerNode) -> None:
    eventually(lambda: serves(node), "the servers are up")
    seen = dial(node, "client", TCP, 700)
    own = node.address("client")
    assert (seen["peer"], seen["sock"], seen["server"]["client"]) == (TCP, own, own)


def test_http_follows_the_virtual_service_through_envoy(node: ContainerNode) -> None:
    eventually(lambda: serves(node), "the servers are up")
    assert {get(node)["body"]["pod"] for _ in range(6)} == {"web-1"}
    answer = get(node, "-H", "end-user: jason")
    assert (answer["body"]["pod"], answer["body"]["headers"]["x-forwarded-for"]) == ("web-2", node.address("client"))


def test_a_container_without_a_document_runs_untouched_until_there_is_one(node: ContainerNode) -> None:
    node.start("stranger", *SLEEP)
    state, reason = node.pods()["default/stranger"]
    assert (state, reason) == ("not-enrolled", "a container outside Kubernetes, and no Pod document has this name")
    assert "error" in dial(node, "stranger", TCP, 700)  # there is no kube-proxy: only the mesh serves that address
    assert dial(node, "stranger", node.address("tcp"), 7000)["server"]["client"] == node.address("stranger")
    document = node.config / "stranger.yaml"
    document.write_text("{apiVersion: v1, kind: Pod, metadata: {name: stranger}, spec: {containers: [{name: c}]}}")
    eventually(lambda: "server" in dial(node, "stranger", TCP, 700), "it is enrolled while it runs")
    document.unlink()
    node.podman("rm", "--force", "--time", "0", "stranger")
    assert "default/stranger" not in node.pods()


def test_a_container_of_a_network_without_us_is_unknown_and_untouched(node: ContainerNode) -> None:
    node.start("plain", *SLEEP, network="plain")
    assert "default/plain" not in node.pods()
    assert "error" in dial(node, "plain", TCP, 700)
    node.podman("rm", "--force", "--time", "0", "plain")


def test_a_container_that_is_started_again_is_enrolled_again(node: ContainerNode) -> None:
    before = node.address("tcp")
    for _ in range(2):
        node.podman("restart", "--time", "0", "tcp")
        eventually(lambda: serves(node), "the server serves at its new address")
    assert node.address("tcp") != before
    assert len(list((node.run_dir / "sandboxes").glob("*.json"))) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_running_containers_are_adopted_by_the_next_agent(node: ContainerNode, number: signal.Signals) -> None:
    before = node.pods()
    node.end_agent(number)
    assert serves(node), "relay and Envoy serve on without an agent"
    node.start_agent()
    eventually(lambda: serves(node), "the containers are served again")
    assert node.pods() == before
    status = node.status()
    assert status["kernel"]["adopted"]
    assert status["relay"]["adopted"]
    assert status["envoy"]["adopted"]


def test_while_the_agent_is_away_containers_wait_and_can_go(node: ContainerNode) -> None:
    node.end_agent()
    refused = node.start("late", *SLEEP, check=False)
    assert refused.returncode != 0
    assert "agent of this node is away" in refused.stderr
    node.podman("rm", "--force", "--time", "0", "late", check=False)
    node.podman("restart", "--time", "0", "tcp", check=False)  # DEL succeeds, ADD does not: same id, later
    node.start_agent()
    node.podman("start", "tcp")
    eventually(lambda: serves(node), "the server that could not start serves")
    node.end_agent(signal.SIGKILL)
    node.start_agent()
    eventually(lambda: serves(node), "its record was kept")


def test_a_container_that_is_removed_leaves_nothing(node: ContainerNode) -> None:
    before = footprint("tgc"), sorted((node.run_dir / "sandboxes").iterdir()), node.pods()
    node.start("brief", *SLEEP)
    node.podman("rm", "--force", "--time", "0", "brief")
    assert before[1:] == (sorted((node.run_dir / "sandboxes").iterdir()), node.pods())
    assert footprint("tgc")["pins"] == before[0]["pins"]
    eventually(lambda: not footprint("tgc")["links"] - before[0]["links"], "its link is gone")


def test_the_agent_mends_the_chain_and_uninstall_gives_the_bytes_back(node: ContainerNode) -> None:
    file = node.conf_dir / "10-mesh.conflist"
    chained = file.read_text()
    node.end_agent()
    node.cni("uninstall")
    bare = file.read_text()
    assert (bare, "tidegate" in bare) == (re.sub(r',\s*\{"type": "tidegate"[^}]*\}', "", chained), False)
    assert node.cni("status", check=False).returncode == 1
    node.start_agent("--cni-conf-dir", str(node.conf_dir), "--cni-bin-dir", str(node.bin_dir))
    assert file.read_text() == chained
    file.write_text(bare)
    eventually(lambda: file.read_text() == chained, "the chain is mended")
    eventually(lambda: node.status()["cni"]["repairs"] == 1, "status says so")
    node.cni("status")
    node.start("brief", *SLEEP)
    assert "default/brief" in node.pods()
    node.podman("rm", "--force", "--time", "0", "brief")
    node.end_agent()
    assert file.read_text() == chained
    node.start_agent()
