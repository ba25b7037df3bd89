"""Services of the cluster that the tests build: kube-proxy carries them on every node, from pods and from the node."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from tests.kube.cluster import Cluster
from tests.kube.pods import PYTHON, TESTS, client, deployment, service, web
from tests.support.eventually import eventually

ASK = [PYTHON, f"{TESTS}/support/ask.py"]


def ask(cluster: Cluster, place: str, who: str, url: str, *options: str) -> dict[str, Any]:
    """What a pod is answered. Raises AssertionError if it is not."""
    answer: dict[str, Any] = json.loads(cluster.exec(who, *ASK, url, *options, namespace=place).stdout)
    return answer


def address(cluster: Cluster, place: str, name: str) -> str:
    """A Service's."""
    return str(cluster.get("service", name, place)["spec"]["clusterIP"])


def test_a_service_is_reached_across_nodes(cluster: Cluster, place: str) -> None:
    here, there = cluster.nodes
    cluster.apply([web("web", node=there.name, namespace=place), service("web", place)])
    cluster.apply([client("near", there.name, place), client("far", here.name, place)])
    cluster.ready("web", "near", "far", namespace=place)
    url = f"http://{address(cluster, place, 'web')}/"
    for who in ("near", "far"):
        assert eventually(partial(ask, cluster, place, who, url), f"{who} reaches the service")["status"] == 200


def test_a_pod_is_known_to_its_server_by_its_own_address(cluster: Cluster, place: str) -> None:
    here, there = cluster.nodes
    serve = [PYTHON, f"{TESTS}/support/probe.py", "serve", "7000"]
    made = client("server", there.name, place)
    made["spec"]["containers"][0]["command"] = serve
    cluster.apply([made, client("asks", here.name, place)])
    cluster.ready("server", "asks", namespace=place)
    where = cluster.pod("server", place)["status"]["podIP"]
    dial = [PYTHON, f"{TESTS}/support/probe.py", "dial", where, "7000", "--family", "4"]

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cluster.exec("asks", *dial, namespace=place).stdout)
        assert "error" not in found, found
        return found

    assert eventually(seen, "the server answers")["server"]["client"] == cluster.pod("asks", place)["status"]["podIP"]


def test_every_endpoint_of_a_deployment_answers(cluster: Cluster, place: str) -> None:
    cluster.apply([deployment("web", 2, place), service("web", place), client("asks", namespace=place)])
    cluster.kubectl("rollout", "status", "-n", place, "deployment/web")
    cluster.ready("asks", namespace=place)
    pods = cluster.api.items(f"/api/v1/namespaces/{place}/pods?labelSelector=app%3Dweb")
    assert {pod["spec"]["nodeName"] for pod in pods} == {node.name for node in cluster.nodes}
    url, seen = f"http://{address(cluster, place, 'web')}/", set[str]()

    def both() -> bool:
        seen.add(ask(cluster, place, "asks", url)["body"]["pod"])
        return seen == {pod["metadata"]["name"] for pod in pods}

    eventually(both, "both pods have answered")


def test_a_service_is_reached_from_the_node_itself(cluster: Cluster, place: str) -> None:
    cluster.apply([web("web", namespace=place), service("web", place)])
    cluster.ready("web", namespace=place)
    url = f"http://{address(cluster, place, 'web')}/"
    for node in cluster.nodes:
        command = ["curl", "--silent", "--fail", "--output", "/dev/null", url]
        eventually(partial(node.room.run, *command), f"{node.name} reaches it")


def test_names_lead_to_services_and_pods(cluster: Cluster, place: str) -> None:
    headless = service("each", place, app="web", clusterIP="None")
    cluster.apply([web("web", namespace=place), service("web", place), headless, client("asks", namespace=place)])
    cluster.ready("web", "asks", namespace=place)
    for host in ("web", f"web.{place}", f"web.{place}.svc.cluster.local", "each:8080"):
        assert eventually(partial(ask, cluster, place, "asks", f"http://{host}/"), f"{host} answers")["status"] == 200
    lookup = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"

    def found(name: str) -> str:
        return cluster.exec("asks", PYTHON, "-c", lookup, name, namespace=place, check=False).stdout.strip()

    assert found("web") == address(cluster, place, "web")
    assert found("each") == cluster.pod("web", place)["status"]["podIP"]
    assert found("nobody") == ""


def test_endpoints_follow_readiness(cluster: Cluster, place: str) -> None:
    cluster.apply([web("web", namespace=place), service("web", place)])
    cluster.ready("web", namespace=place)
    path = f"/apis/discovery.k8s.io/v1/namespaces/{place}/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb"

    def ready() -> list[tuple[str, bool]]:
        slices = cluster.api.items(path)
        return [(one["addresses"][0], one["conditions"]["ready"]) for s in slices for one in s.get("endpoints") or ()]

    where = cluster.pod("web", place)["status"]["podIP"]
    eventually(lambda: ready() == [(where, True)], "the slice has the pod")
    cluster.kubectl("delete", "pod", "-n", place, "web")
    eventually(lambda: ready() == [], "the slice is empty again")
