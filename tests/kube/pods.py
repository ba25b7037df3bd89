"""Objects that stories apply: pods that run programs of this machine, and Services in front of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.kube.images import HOST

_TESTS = Path(__file__).resolve().parents[1]
TESTS = "/tests"  # where a pod sees this repository's tests
PYTHON = "/usr/bin/python3"


def container(name: str, *command: str, port: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    """A container of the machine's programs. port: it is ready when this answers HTTP; 0: when it runs."""
    made: dict[str, Any] = {
        "name": name,
        "image": HOST,
        "imagePullPolicy": "Never",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "volumeMounts": [
            {"name": "usr", "mountPath": "/usr", "readOnly": True},
            {"name": "tests", "mountPath": TESTS, "readOnly": True},
        ],
    }
    if port:
        made["ports"] = [{"containerPort": port}]
        made["readinessProbe"] = {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1, "timeoutSeconds": 60}
    return made


def spec(*containers: dict[str, Any], node: str = "") -> dict[str, Any]:
    """What these containers need; node: on which node, if not on any."""
    volumes = [{"name": "usr", "hostPath": {"path": "/usr"}}, {"name": "tests", "hostPath": {"path": str(_TESTS)}}]
    made: dict[str, Any] = {"containers": list(containers), "volumes": volumes, "terminationGracePeriodSeconds": 1}
    if node:
        # Not nodeName: the scheduler and its taints are to be asked.
        made["nodeSelector"] = {"kubernetes.io/hostname": node}
    return made


def pod(
    name: str,
    *command: str,
    node: str = "",
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    port: int = 0,
    env: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A pod of one container; label `app` is its name unless labels say otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **(labels or {})}},
        "spec": spec(container(name, *command, port=port, env=env), node=node),
    }


def client(name: str, node: str = "", namespace: str = "default") -> dict[str, Any]:
    """A pod that waits for commands."""
    return pod(name, "/usr/bin/sleep", "infinity", node=node, namespace=namespace)


def web(name: str, app: str = "", node: str = "", namespace: str = "default", version: str = "v1") -> dict[str, Any]:
    """A pod that answers HTTP on 8080 (tests/support/web.py)."""
    labels = {"app": app or name, "version": version}
    command = [PYTHON, f"{TESTS}/support/web.py", "8080"]
    env = {"VERSION": version}
    return pod(name, *command, node=node, namespace=namespace, labels=labels, port=8080, env=env)


def deployment(name: str, replicas: int, namespace: str = "default", version: str = "v1") -> dict[str, Any]:
    """A Deployment of web pods, on different nodes as far as there are enough."""
    template = web(name, namespace=namespace, version=version)
    labels = {"app": name}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    template["spec"]["topologySpreadConstraints"] = [{**spread, "labelSelector": {"matchLabels": labels}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
        },
    }


def service(name: str, namespace: str = "default", app: str = "", **more: object) -> dict[str, Any]:
    """A Service on port 80 for web pods of this app (its own name if not given). more: fields of its spec."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": app or name}, "ports": ports, **more},
    }
