"""What happens to machines happens to this cluster's: programs are restarted, a plug is pulled, a node comes late."""

from __future__ import annotations

from typing import Any

from tests.kube.cluster import Cluster
from tests.kube.control_plane import API_SERVER
from tests.kube.node import CONTAINERD, KUBELET, PROXY
from tests.kube.pods import client, service, web
from tests.support.eventually import eventually


def container(cluster: Cluster, place: str, name: str) -> dict[str, Any]:
    """Status of a pod's only container."""
    (found,) = cluster.pod(name, place)["status"]["containerStatuses"]
    value: dict[str, Any] = found
    return value


def test_pods_live_on_while_kubelet_and_containerd_are_restarted(cluster: Cluster, place: str) -> None:
    node = cluster.nodes[0]
    cluster.apply(web("stays", node=node.name, namespace=place))
    cluster.ready("stays", namespace=place)
    before = container(cluster, place, "stays")
    for name in (KUBELET, CONTAINERD, PROXY):
        node.restart(name)
    cluster.apply(web("after", node=node.name, namespace=place))
    cluster.ready("stays", "after", namespace=place)
    now = container(cluster, place, "stays")
    assert (now["containerID"], now["restartCount"]) == (before["containerID"], 0)


def test_a_node_that_is_rebooted_starts_its_pods_again(cluster: Cluster, place: str) -> None:
    node = cluster.nodes[1]
    cluster.apply(web("again", node=node.name, namespace=place))
    cluster.ready("again", namespace=place)
    before = container(cluster, place, "again")["containerID"]
    cluster.reboot(node)

    def another() -> bool:
        now = container(cluster, place, "again")
        return bool(now["ready"] and now["containerID"] != before)

    eventually(another, "the pod has another container, which is ready")


def test_pods_serve_while_the_api_server_is_away(cluster: Cluster, place: str) -> None:
    here, there = cluster.nodes
    cluster.apply([web("web", node=there.name, namespace=place), service("web", place)])
    cluster.ready("web", namespace=place)
    address = cluster.get("service", "web", place)["spec"]["clusterIP"]
    reach = ["curl", "--silent", "--fail", "--output", "/dev/null", f"http://{address}/"]
    eventually(lambda: here.room.run(*reach, check=False).returncode == 0, "the service is reached")
    cluster.control.stop(API_SERVER)
    try:
        assert here.room.run(*reach, check=False).returncode == 0
    finally:
        cluster.control.start(API_SERVER)
        eventually(cluster.control.is_ready, "the API server is ready again")
    cluster.apply(client("later", here.name, place))
    cluster.ready("later", namespace=place)


def test_a_node_without_a_network_is_not_ready_until_it_gets_one(cluster: Cluster) -> None:
    node = cluster.add_node(network=False)
    try:
        cluster.subnet(node)
        message = "cni plugin not initialized"

        def says_why() -> bool:
            found = cluster.api.get(f"/api/v1/nodes/{node.name}")["status"]["conditions"]
            return any(one["type"] == "Ready" and message in one["message"] for one in found)

        eventually(says_why, "the node says what it lacks")
        assert not cluster.is_ready(node)
        cluster.connect()
    finally:
        cluster.remove_node(node)
