"""Fields of Services and Pods that decide which endpoint a client gets, on two nodes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, PROBE, Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("fields")
    lab.up(MANIFESTS / "fields.yaml", nodes=2)
    yield lab
    lab.down()


# Of three pods that are chosen by chance, one is never among so many with a probability of 1e-17.
TIMES = 100


def tcp(lab: Lab, client: str, service: str) -> set[str]:
    """Names of the pods that answered."""
    names = {row["ip"]: row["name"] for row in lab.pods().values()}
    answered = lab.probe(client, "spread", service, "7000", "--count", str(TIMES))["answered"]
    assert sum(answered.values()) == TIMES
    return {names[address] for address in answered}


def http(lab: Lab, client: str, service: str) -> set[str]:
    answers = lab.ask(client, f"http://{service}/", "--count", str(TIMES), "--fresh")
    assert set(answers["statuses"]) == {"200"}, answers
    return set(answers["versions"])


def problems(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.status()["config"]["problems"]
    return found


@pytest.mark.case("D2")
def test_internal_traffic_policy_local_keeps_clients_on_their_node(lab: Lab) -> None:
    for ask in (tcp, http):
        assert ask(lab, "client", "local") == {"a1", "a2"}
        assert ask(lab, "client2", "local") == {"b1"}


@pytest.mark.case("D2")
def test_a_local_service_without_an_endpoint_on_the_node_serves_nobody_there(lab: Lab) -> None:
    assert "error" in lab.probe("client", "dial", "far", "7000")
    assert lab.ask("client", "http://far/")["status"] == 503
    assert tcp(lab, "client2", "far") == http(lab, "client2", "far") == {"b1"}


@pytest.mark.case("D2")
def test_prefer_same_node_goes_elsewhere_only_where_the_node_has_nobody(lab: Lab) -> None:
    for ask in (tcp, http):
        assert ask(lab, "client", "node-first") == {"a1", "a2"}
        assert ask(lab, "client2", "node-first") == {"b1"}
        assert ask(lab, "client", "far-first") == {"b1"}


NODES = """
apiVersion: v1
kind: Node
metadata: {{name: node1, labels: {{topology.kubernetes.io/zone: east}}}}
---
apiVersion: v1
kind: Node
metadata: {{name: node2, labels: {{topology.kubernetes.io/zone: {other}}}}}
"""


@pytest.mark.case("D2")
def test_prefer_close_stays_in_the_zone_that_nodes_say(lab: Lab, tmp_path: Path) -> None:
    (warning,) = [p for p in problems(lab) if p["name"] == "zone-first"]
    assert "topology.kubernetes.io/zone" in warning["message"]
    assert tcp(lab, "client2", "zone-first") > {"b1"}
    path = tmp_path / "nodes.yaml"
    path.write_text(NODES.format(other="west"))
    lab.apply(path)
    for ask in (tcp, http):
        assert ask(lab, "client", "zone-first") == {"a1", "a2"}
        assert ask(lab, "client2", "zone-first") == {"b1"}
    path.write_text(NODES.format(other="east"))
    lab.apply(path)
    for ask in (tcp, http):
        assert ask(lab, "client2", "zone-first") > {"b1"}
    lab.delete(path)


@pytest.mark.case("D2")
def test_session_affinity_brings_a_client_back_to_its_pod(lab: Lab) -> None:
    for client in ("client", "client2"):
        assert len(tcp(lab, client, "sticky")) == 1
        assert len(http(lab, client, "sticky")) == 1
        assert len(http(lab, client, "local" if client == "client" else "node-first")) >= 1
    assert len(tcp(lab, "client", "local")) == 2, "without it connections are spread"


LIMIT = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: limited}
spec:
  host: local
  trafficPolicy:
    portLevelSettings:
    - port: {number: 7000}
      connectionPool: {tcp: {maxConnections: 3, idleTimeout: 1h}}
      loadBalancer: {consistentHash: {httpHeaderName: x-user}}
"""


@pytest.mark.case("D1")
def test_a_rule_of_a_tcp_port_is_honoured_or_named_as_idle(lab: Lab, tmp_path: Path) -> None:
    assert lab.probe("client", "hold", "local", "7000", "--count", "4") == {"opened": 4, "right": 4}
    path = tmp_path / "limited.yaml"
    path.write_text(LIMIT)
    said = lab.tidegate("lab", "apply", "-f", path).stderr
    told = {(p["path"], p["line"]) for p in problems(lab) if p["name"] == "limited"}
    assert told == {("spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash.httpHeaderName", 11)}, said
    assert lab.probe("client", "hold", "local", "7000", "--count", "3") == {"opened": 3, "right": 3}
    refused = lab.exec("client", "/usr/bin/python3", PROBE, "hold", "local", "7000", "--count", "4", check=False)
    assert "ConnectionResetError" in refused.stderr
    lab.delete(path)
    assert lab.probe("client", "hold", "local", "7000", "--count", "4") == {"opened": 4, "right": 4}


@pytest.mark.case("D4")
def test_a_target_port_may_be_named_by_a_sidecar(lab: Lab) -> None:
    assert lab.dial("client", "guarded", 443)["server"]["port"] == 9443


@pytest.mark.case("D4")
def test_of_ports_of_one_name_the_one_of_the_services_protocol_is_meant(lab: Lab) -> None:
    assert lab.dial("client", "names", 5053)["server"]["port"] == 5354


@pytest.mark.case("D4")
def test_a_service_whose_port_a_sidecar_names_can_be_exposed(lab: Lab) -> None:
    url = lab.tidegate("lab", "expose", "svc/guarded", "443").stdout.strip()
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", url)
    assert port, url
    talk = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port[1]}; echo who >&3; cat <&3"]
    answer = eventually(lambda: subprocess.run(talk, capture_output=True, text=True, check=False).stdout, "an answer")
    assert json.loads(answer)["port"] == 9443
