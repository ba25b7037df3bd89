"""A pod on the cluster that the tests build is a pod as anywhere: scheduled, attached, watched, restarted."""

from __future__ import annotations

import ipaddress
import json

from tests.kube.cluster import Cluster
from tests.kube.pods import PYTHON, client, container, pod, spec, web
from tests.support.eventually import eventually


def test_a_pod_runs_on_each_node_with_an_address_of_it(cluster: Cluster, place: str) -> None:
    cluster.apply([client(node.name, node.name, place) for node in cluster.nodes])
    cluster.ready(*(node.name for node in cluster.nodes), namespace=place)
    for node in cluster.nodes:
        status = cluster.pod(node.name, place)["status"]
        assert status["hostIP"] == node.address
        assert ipaddress.ip_address(status["podIP"]) in ipaddress.ip_network(cluster.subnet(node))
        seen = cluster.exec(node.name, "/usr/bin/hostname", "--all-ip-addresses", namespace=place).stdout.split()
        assert seen == [status["podIP"]]


def test_what_a_pod_says_is_in_its_log_and_its_exit_code_in_its_status(cluster: Cluster, place: str) -> None:
    made = pod("speaks", "/usr/bin/sh", "-c", "echo spoken; exit 3", namespace=place)
    made["spec"]["restartPolicy"] = "Never"
    cluster.apply(made)
    eventually(lambda: cluster.pod("speaks", place)["status"]["phase"] == "Failed", "the pod has ended")
    (ended,) = cluster.pod("speaks", place)["status"]["containerStatuses"]
    assert ended["state"]["terminated"]["exitCode"] == 3
    assert cluster.kubectl("logs", "-n", place, "speaks").stdout == "spoken\n"


def test_a_container_that_ends_is_started_again(cluster: Cluster, place: str) -> None:
    cluster.apply(client("ends", namespace=place))
    cluster.ready("ends", namespace=place)
    # The first process of its namespace hears nobody inside; it is the node that ends it.
    node = cluster.node(cluster.pod("ends", place)["spec"]["nodeName"])
    (running,) = cluster.pod("ends", place)["status"]["containerStatuses"]
    task = running["containerID"].removeprefix("containerd://")
    node.ctr("--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", task)

    def restarted() -> bool:
        (status,) = cluster.pod("ends", place)["status"]["containerStatuses"]
        return bool(status["restartCount"] == 1 and status["ready"])

    eventually(restarted, "the container runs again")


def test_two_containers_of_a_pod_share_its_network(cluster: Cluster, place: str) -> None:
    made = web("both", namespace=place)
    made["spec"] = spec(made["spec"]["containers"][0], container("beside", "/usr/bin/sleep", "infinity"))
    cluster.apply(made)
    cluster.ready("both", namespace=place)
    ask = ["exec", "-n", place, "both", "-c", "beside", "--", PYTHON, "/tests/support/ask.py", "http://127.0.0.1:8080/"]
    assert json.loads(cluster.kubectl(*ask).stdout)["status"] == 200


def test_a_pod_that_is_deleted_is_gone_with_its_address_and_its_processes(cluster: Cluster, place: str) -> None:
    node = cluster.nodes[0]
    cluster.apply(web("leaves", node=node.name, namespace=place))
    cluster.ready("leaves", namespace=place)
    address = cluster.pod("leaves", place)["status"]["podIP"]
    assert address in node.room.run("ip", "route").stdout
    cluster.kubectl("delete", "pod", "-n", place, "leaves")
    eventually(lambda: address not in node.room.run("ip", "route").stdout, "the node has no route to it any more")
    reserved = node.path("/var/lib/cni/networks/kube")
    eventually(lambda: address not in {file.name for file in reserved.iterdir()}, "its address is free again")
