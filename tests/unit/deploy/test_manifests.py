"""What the manifests ask of a cluster is what the agent uses, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.config.sources.kube.resources import RESOURCES
from tidegate.linux.capabilities import NEEDED
from tidegate.settings import (
    DEFAULT_BPFFS,
    DEFAULT_CA_DIR,
    DEFAULT_CNI_BIN_DIR,
    DEFAULT_CNI_CONF_DIR,
    DEFAULT_NETNS_DIR,
    DEFAULT_RUN_DIR,
    READY_PORT,
    Settings,
    from_environment,
)

BASE = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes" / "base"
Grants = dict[tuple[str, str, str], set[str]]  # group, resource, name -> verbs


def objects() -> list[dict[str, Any]]:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [one for file in listed for one in yaml.safe_load_all((BASE / file).read_text())]


def of(kind: str) -> dict[str, Any]:
    (found,) = [one for one in objects() if one["kind"] == kind]
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = of("DaemonSet")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def agent(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return dict(container)


def granted(*kinds: str) -> Grants:
    out: Grants = defaultdict(set)
    for one in objects():
        if one["kind"] not in kinds:
            continue
        for rule in one["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        out[group, resource, name] |= set(rule["verbs"])
    return out


def test_the_cluster_grants_what_the_source_asks_for_and_nothing_else() -> None:
    watched: Grants = {}
    for resource in RESOURCES:
        name = resource.fields.removeprefix("metadata.name=") if resource.fields.startswith("metadata.name=") else ""
        watched[resource.group, resource.plural, name] = {"list", "watch"}
    watched["", "secrets", ""] = {"list", "watch"}  # those that a rule names, which nobody can foresee
    watched["", "namespaces", "tidegate-system"] = {"get"}  # at its end: is all of it being removed?
    assert granted("ClusterRole") == watched
    assert granted("Role") == {("apps", "daemonsets", "tidegate"): {"get"}}


def test_each_role_is_bound_to_the_agents_account() -> None:
    account = of("ServiceAccount")["metadata"]
    subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    roles = {(one["kind"], one["metadata"]["name"]) for one in objects() if one["kind"] in ("Role", "ClusterRole")}
    bindings = [one for one in objects() if one["kind"].endswith("Binding")]
    assert {(one["roleRef"]["kind"], one["roleRef"]["name"]) for one in bindings} == roles
    assert all(one["subjects"] == [subject] for one in bindings)


def test_the_container_gets_the_capabilities_that_the_agent_needs_and_is_not_privileged(agent: dict[str, Any]) -> None:
    context = agent["securityContext"]
    assert sorted(f"CAP_{name}" for name in context["capabilities"]["add"]) == sorted(one.name for one in NEEDED)
    assert context["capabilities"]["drop"] == ["ALL"]
    assert not context.get("privileged")
    assert context["readOnlyRootFilesystem"]


def settings(agent: dict[str, Any]) -> Settings:
    """Of an agent on node1 of a cluster."""
    environment = {one["name"]: one.get("value", "node1") for one in agent["env"]}
    return from_environment({}, {**environment, "KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_the_environment_is_settings_of_the_agent(agent: dict[str, Any]) -> None:
    names = {one["name"] for one in agent["env"]}
    assert all(hasattr(Settings, name.removeprefix("TIDEGATE_").lower()) for name in names), names
    got = settings(agent)
    assert (got.config, got.node, got.netns_names) == (("kube",), "node1", "links")
    (node,) = [one for one in agent["env"] if one["name"] == "TIDEGATE_NODE"]
    assert node["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}, "as the cluster calls the node"


def test_the_agent_knows_which_daemonset_it_is_of(agent: dict[str, Any]) -> None:
    metadata = of("DaemonSet")["metadata"]
    assert settings(agent).daemonset == f"{metadata['namespace']}/{metadata['name']}"
    assert of("Namespace")["metadata"]["name"] == metadata["namespace"]


def test_what_the_agent_reads_and_writes_of_the_node_is_mounted_where_it_is(
    pod: dict[str, Any], agent: dict[str, Any]
) -> None:
    hosts = {one["name"]: one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}
    mounted = {one["mountPath"]: hosts.get(one["name"]) for one in agent["volumeMounts"]}
    got = settings(agent)
    assert (got.cni_conf_dir, got.cni_bin_dir) == (DEFAULT_CNI_CONF_DIR, DEFAULT_CNI_BIN_DIR)
    for path in (DEFAULT_RUN_DIR, DEFAULT_CNI_CONF_DIR, DEFAULT_CNI_BIN_DIR, DEFAULT_NETNS_DIR, DEFAULT_BPFFS.parent):
        assert mounted.pop(str(path)) == str(path)
    assert mounted.pop(str(DEFAULT_CA_DIR.parent)) == str(DEFAULT_CA_DIR.parent)
    assert mounted.pop("/sys/fs/cgroup") == "/sys/fs/cgroup"
    assert mounted == {"/tmp": None}
    for one in agent["volumeMounts"]:
        follows = one["name"] in ("netns", "bpffs", "cgroup")
        assert (one.get("mountPropagation") == "HostToContainer") == follows, "what the node mounts later is seen"


def test_probes_ask_for_the_tokens_of_readiness(agent: dict[str, Any]) -> None:
    for probe in ("readinessProbe", "startupProbe"):
        assert agent[probe]["httpGet"] == {"host": "127.0.0.1", "port": READY_PORT, "path": "/healthz/ready"}


def test_the_node_keeps_its_agent(pod: dict[str, Any]) -> None:
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert (pod["hostNetwork"], pod["hostPID"]) == (True, True)
    strategy = of("DaemonSet")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
