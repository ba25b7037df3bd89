"""The API of the cluster that the tests build is asked as users do: with their rights, from outside and from a pod."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kube.api import ApiError
from tests.kube.cluster import Cluster
from tests.kube.pods import PYTHON, client, service
from tests.support.eventually import eventually

# As a client in a pod does: the mounted token, the mounted certificate, the Service that every cluster has.
FROM_A_POD = """
import json, os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/api/v1/namespaces"
asked = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(folder + "token").read()})
with urllib.request.urlopen(asked, context=ssl.create_default_context(cafile=folder + "ca.crt")) as answer:
    print(json.dumps([one["metadata"]["name"] for one in json.load(answer)["items"]]))
"""


def reader(place: str, subject: dict[str, str]) -> list[dict[str, Any]]:
    """Objects that let somebody read Services of a namespace."""
    api = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]}
    named = {"name": "reader", "namespace": place}
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": named, "rules": [rule]},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": named,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "reader"},
            "subjects": [subject],
        },
    ]


def test_a_user_may_do_what_a_role_says_and_nothing_else(cluster: Cluster, place: str) -> None:
    cluster.apply(service("web", place))
    refused = cluster.kubectl("get", "services", "-n", place, user="guest", check=False)
    assert refused.returncode == 1
    assert 'User "guest" cannot list resource "services"' in refused.stderr
    cluster.apply(reader(place, {"kind": "User", "name": "guest", "apiGroup": "rbac.authorization.k8s.io"}))
    path = f"/api/v1/namespaces/{place}/services"
    names = eventually(
        lambda: [one["metadata"]["name"] for one in cluster.api_of("guest").items(path)], "the guest may read services"
    )
    assert names == ["web"]
    with pytest.raises(ApiError, match="403"):
        cluster.api_of("guest").get(f"/api/v1/namespaces/{place}/secrets")


def test_an_object_that_is_wrong_is_refused_by_the_server(cluster: Cluster, place: str) -> None:
    wrong = service("web", place, type="NoSuchType")
    refused = cluster.kubectl("apply", "--dry-run=server", "-f", "-", check=False, text=json.dumps(wrong))
    assert refused.returncode == 1
    assert 'spec.type: Unsupported value: "NoSuchType"' in refused.stderr


def test_a_pod_asks_the_api_with_its_own_token(cluster: Cluster, place: str) -> None:
    cluster.apply(client("asks", namespace=place))
    cluster.ready("asks", namespace=place)
    refused = cluster.exec("asks", PYTHON, "-c", FROM_A_POD, namespace=place, check=False)
    assert "403" in refused.stderr
    named = {"name": f"reads-namespaces-{place}"}
    api = "rbac.authorization.k8s.io"
    role: dict[str, Any] = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": named}
    role["rules"] = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}]
    binding: dict[str, Any] = {"apiVersion": f"{api}/v1", "kind": "ClusterRoleBinding", "metadata": named}
    binding["roleRef"] = {"apiGroup": api, "kind": "ClusterRole", **named}
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "default", "namespace": place}]
    cluster.apply([role, binding])
    try:

        def asked() -> list[str]:
            done = cluster.exec("asks", PYTHON, "-c", FROM_A_POD, namespace=place)
            found: list[str] = json.loads(done.stdout)
            return found

        assert place in eventually(asked, "the pod may list namespaces")
    finally:
        cluster.delete([role, binding])
