"""The agent on a real cluster, by kubectl alone: installed, in force, updated under traffic, removed with no trace."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.kube import agent_image
from tests.kube.cluster import Cluster
from tests.kube.node import CONFLIST, Node
from tests.kube.pods import PYTHON, TESTS, client, service, web
from tests.support.eventually import eventually
from tests.support.kube.objects import crds

OURS, DAEMONSET = "tidegate-system", "daemonset/tidegate"
TIDEGATE = "/opt/tidegate/bin/tidegate"
ENROLLED = {"istio.io/dataplane-mode": "ambient"}
# What is of ours on a node, or was changed: files with their content, pins, groups.
FOOTPRINT = """
cd /; find etc/cni opt/cni -type f -exec sha256sum {} + | sort -k2
find etc/cni opt/cni sys/fs/bpf var/lib/tidegate run/tidegate -mindepth 1 2> /dev/null | sort
find sys/fs/cgroup -maxdepth 2 -name '*tidegate*' | sort
for pid in $(ls proc | grep '^[0-9]*$'); do cat proc/$pid/comm 2> /dev/null; done | grep -E 'envoy|tidegate' | sort
"""


def footprint(node: Node) -> list[str]:
    return node.room.run("sh", "-c", FOOTPRINT).stdout.splitlines()


@dataclass
class Installed:
    """The mesh on every node; a namespace in it with pods that ran before."""

    cluster: Cluster
    place: str
    manifests: Path
    before: dict[str, list[str]]

    def agent_of(self, node: Node) -> str:
        """The agent's pod there."""
        found = self.cluster.api.items(f"/api/v1/namespaces/{OURS}/pods?fieldSelector=spec.nodeName%3D{node.name}")
        return next(str(one["metadata"]["name"]) for one in found if "deletionTimestamp" not in one["metadata"])

    def status(self, node: Node) -> dict[str, Any]:
        """As `tidegate status` tells it there."""
        asked = [TIDEGATE, "status", "-o", "json"]
        done = self.cluster.exec(self.agent_of(node), *asked, namespace=OURS, check=False)
        told: dict[str, Any] = json.loads(done.stdout)["nodes"][0]
        return told

    def enrolled(self, node: Node, pod: str) -> str:
        """Why a pod is in the mesh. Raises AssertionError as long as it is not."""
        status = self.status(node)
        (found,) = [one for one in status["pods"] if one["name"] == pod]
        assert found["enrolled"], found
        return str(found["reason"])

    def well(self) -> None:
        self.cluster.kubectl("rollout", "status", "-n", OURS, DAEMONSET)
        for node in self.cluster.nodes:
            eventually(partial(self._is_well, node), f"the agent of {node.name} is well")

    def _is_well(self, node: Node) -> bool:
        status = self.status(node)
        assert status["healthy"], status["unhealthy"]
        return True

    def ask(self, who: str, *options: str) -> dict[str, Any]:
        """What a pod is answered by the Service."""
        address = self.cluster.get("service", "web", self.place)["spec"]["clusterIP"]
        ask = [PYTHON, f"{TESTS}/support/ask.py", f"http://{address}/", *options]
        told: dict[str, Any] = json.loads(self.cluster.exec(who, *ask, namespace=self.place).stdout)
        return told


def rule(place: str, version: str) -> list[dict[str, Any]]:
    """All requests go to one version."""
    api, host = "networking.istio.io/v1", "web"
    subsets = [{"name": one, "labels": {"version": one}} for one in ("v1", "v2")]
    route = [{"destination": {"host": host, "subset": version}}]
    metadata = {"name": "web", "namespace": place}
    return [
        {
            "apiVersion": api,
            "kind": "DestinationRule",
            "metadata": metadata,
            "spec": {"host": host, "subsets": subsets},
        },
        {
            "apiVersion": api,
            "kind": "VirtualService",
            "metadata": metadata,
            "spec": {"hosts": [host], "http": [{"route": route}]},
        },
    ]


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    archive = tmp_path_factory.mktemp("image") / "tidegate.tar"
    agent_image.write(archive)
    cluster.load_image(archive)
    cluster.apply(crds())
    place = f"mesh-{secrets.token_hex(3)}"
    cluster.namespace(place, ENROLLED)
    here, there = cluster.nodes
    cluster.apply([service("web", place), client("early", here.name, place)])
    cluster.apply([web(f"web-{v}", "web", there.name, place, v) for v in ("v1", "v2")])
    cluster.ready("early", "web-v1", "web-v2", namespace=place)
    made = Installed(
        cluster, place, agent_image.kustomization(archive.parent), {n.name: footprint(n) for n in cluster.nodes}
    )
    cluster.kubectl("apply", "-k", made.manifests)
    try:
        made.well()
        yield made
    finally:
        cluster.kubectl("delete", "-k", made.manifests, "--ignore-not-found")
        for node in cluster.nodes:
            eventually(partial(_same, made, node), f"nothing of ours is left on {node.name}")
        cluster.kubectl("delete", "namespace", place, "--wait=false")


def _same(made: Installed, node: Node) -> bool:
    now = footprint(node)
    assert now == made.before[node.name], sorted(set(now) ^ set(made.before[node.name]))
    return True


def test_pods_that_ran_before_are_in_the_mesh_and_their_http_is_routed(installed: Installed) -> None:
    here = installed.cluster.nodes[0]
    reason = eventually(lambda: installed.enrolled(here, "early"), "the pod that ran before is captured")
    assert "it ran before it was found" in reason
    for version in ("v2", "v1"):
        installed.cluster.apply(rule(installed.place, version))
        told = eventually(partial(_only, installed, "early", version), f"every request goes to {version}")
        assert told["statuses"] == {"200": 20}


@contextlib.contextmanager
def steadily(installed: Installed, who: str, address: str) -> Iterator[dict[str, Any]]:
    """A pod asks all the while, on one connection and on a new one each; what it saw is there afterwards."""
    cluster, told = installed.cluster, dict[str, Any]()
    ask = [PYTHON, f"{TESTS}/support/steady.py", address, "80", "/", "50"]
    command: list[str | Path] = [
        cluster.programs.kubernetes / "kubectl",
        "exec",
        "-i",
        "-n",
        installed.place,
        who,
        "--",
        *ask,
    ]
    pipes = subprocess.PIPE
    with subprocess.Popen(command, env=cluster.environment(), stdin=pipes, stdout=pipes, text=True) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        assert asking.stdout.readline() == "started\n"
        yield told
        told |= json.loads(asking.communicate("stop\n")[0])


def _only(installed: Installed, who: str, version: str) -> dict[str, Any]:
    told = installed.ask(who, "--count", "20")
    assert set(told["versions"]) == {version}, told
    return told


def test_a_pod_that_comes_is_enrolled_before_it_starts(installed: Installed) -> None:
    node = installed.cluster.nodes[0]
    installed.cluster.apply(rule(installed.place, "v1"))
    eventually(partial(_only, installed, "early", "v1"), "the rule is in force")
    installed.cluster.apply(client("late", node.name, installed.place))
    installed.cluster.ready("late", namespace=installed.place)
    assert "ran before" not in installed.enrolled(node, "late")
    _only(installed, "late", "v1")
    installed.cluster.kubectl("delete", "pod", "-n", installed.place, "late")
    gone = lambda: "late" not in {one["name"] for one in installed.status(node)["pods"]}  # noqa: E731
    eventually(gone, "its runtime has taken it back")


def test_a_primary_that_writes_its_configuration_anew_is_mended(installed: Installed) -> None:
    node = installed.cluster.nodes[0]
    chained = node.path(CONFLIST).read_text()
    assert '"tidegate"' in chained
    bare = json.loads(chained)
    bare["plugins"] = [one for one in bare["plugins"] if one["type"] != "tidegate"]
    node.write(CONFLIST, json.dumps(bare, indent=2))
    eventually(lambda: '"tidegate"' in node.path(CONFLIST).read_text(), "our plugin is in the chain again")


def test_an_update_of_the_daemonset_costs_no_request_and_no_connection(installed: Installed) -> None:
    node = installed.cluster.nodes[0]
    installed.cluster.apply(rule(installed.place, "v1"))
    eventually(partial(_only, installed, "early", "v1"), "the rule is in force")
    before = installed.status(node)
    address = installed.cluster.get("service", "web", installed.place)["spec"]["clusterIP"]
    with steadily(installed, "early", address) as told:
        installed.cluster.kubectl("rollout", "restart", "-n", OURS, DAEMONSET)
        installed.well()
    after = installed.status(node)
    assert after["agent"]["pid"] != before["agent"]["pid"]
    for program in ("relay", "envoy"):
        assert (after[program]["pid"], after[program]["adopted"]) == (before[program]["pid"], True), program
    assert not told["failures"], told
