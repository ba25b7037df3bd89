"""The cluster itself: it leaves nothing on the machine, whoever ends it, and takes many objects at once."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube import cluster as clusters
from tests.kube.cluster import Cluster
from tests.kube.pods import client
from tests.kube.untouched import Machine, machine
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.footprint import footprint

from tidegate.linux.cgroup import cgroup2_mount


@pytest.fixture
def name() -> Iterator[str]:
    """Of a cluster of this test's own."""
    made = f"short-{secrets.token_hex(3)}"
    yield made
    clusters.remove(made)


def left(name: str) -> dict[str, set[str]]:
    """What carries the name of a cluster."""
    found = {
        kind: things for kind, things in footprint(f"{clusters.PREFIX}{name}").items() if kind in ("mounts", "cgroups")
    }
    processes = Path("/proc").glob("[0-9]*/cgroup")
    found["processes"] = {path.parent.name for path in processes if name in read(path)}
    found["files"] = {str(path) for path in clusters.ROOT.glob(f"*{name}*")}
    return {kind: things for kind, things in found.items() if things}


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_cluster_leaves_nothing(untouched: Machine, cluster: Cluster, name: str) -> None:
    assert machine() == untouched
    with Cluster(name, 1, cluster.programs) as short:
        short.namespace("busy")
        short.apply(client("one", namespace="busy"))
        short.ready("one", namespace="busy")
        assert left(name)["files"]
        assert machine() == untouched
    eventually(lambda: not left(name), "nothing is left")
    assert machine() == untouched


def test_one_whose_processes_were_killed_is_swept_when_the_next_one_starts(cluster: Cluster, name: str) -> None:
    made = Cluster(name, 0, cluster.programs)
    made.up()
    assert name in clusters.running()
    (cgroup2_mount() / f"{clusters.PREFIX}{name}" / "cgroup.kill").write_text("1")
    eventually(lambda: name not in clusters.running(), "nobody holds it")
    made.forget()
    clusters.sweep()
    eventually(lambda: not left(name), "nothing is left")


def test_a_cluster_is_found_by_its_name(cluster: Cluster) -> None:
    found = Cluster.attach(cluster.name)
    assert found.kubectl("get", "--raw", "/readyz").stdout == "ok"
    assert [node.room.run("hostname").stdout.strip() for node in found.nodes] == [node.name for node in cluster.nodes]
    with pytest.raises(LookupError, match="no cluster nowhere is up"):
        Cluster.attach("nowhere")


def test_its_name_is_taken_once(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="is there already"):
        Cluster(cluster.name, 0, cluster.programs).up()
    assert cluster.control.is_ready()


def test_many_objects_are_written_beside_the_api_server(cluster: Cluster, place: str) -> None:
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{number}", "namespace": place, "uid": f"00000000-0000-0000-0000-{number:012d}"},
            "spec": {
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "type": "ClusterIP",
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
        }
        for number in range(250)
    ]
    cluster.write("services/specs", services)
    path = f"/api/v1/namespaces/{place}/services"
    eventually(lambda: len(cluster.api.items(path)) == len(services), "the API server serves them")


def test_the_way_to_the_api_server_can_be_broken_and_made_again(cluster: Cluster) -> None:
    cluster.control.stop("door", signal.SIGTERM)
    with pytest.raises(AssertionError, match="refused"):
        cluster.api.text("/readyz")
    cluster.control.open_door()
    eventually(cluster.control.is_ready, "it is reached again")


def test_a_pid_that_was_killed_is_known_to_be_gone(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    pid = node.room.pid("kube-proxy")
    assert pid is not None
    kill(pid)
    eventually(lambda: node.room.pid("kube-proxy") is None, "it is gone")
    node.start("kube-proxy")
