"""`ingress` of a Sidecar, seen from clients: ports of a pod at which its application does not listen itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.lab import ASK, Lab

AT, NOWHERE = 9443, 9999
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: server}
spec:
  workloadSelector: {labels: {app: web, version: v1}}
  ingress:
  - port: {number: %(port)s, protocol: %(protocol)s, name: any}
    defaultEndpoint: "%(endpoint)s"
"""
BY_NAME = """
---
apiVersion: v1
kind: Service
metadata: {name: moved}
spec: {selector: {app: web, version: v1}, ports: [{name: http, port: 81, targetPort: %(port)s}]}
"""


@pytest.fixture
def apply(web_lab: Lab) -> Iterator[Callable[..., Any]]:
    """Apply documents; removed afterwards."""
    yield web_lab.apply
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def address(lab: Lab, pod: str) -> str:
    """IPv4 address of a pod, by the beginning of its name."""
    found = next(each for name, each in lab.pods().items() if name.startswith(f"default/{pod}"))
    return next(str(ip) for ip in found["ips"] if ":" not in ip)


def asked(lab: Lab, server: str, port: int) -> dict[str, Any]:
    """What a request of the node, which is in no mesh, is answered."""
    done = lab.tidegate("lab", "node-exec", "node1", "--", sys.executable, ASK, f"http://{server}:{port}/", check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"status": 0}


def answered(lab: Lab, server: str, port: int) -> dict[str, Any]:
    """What the server saw of it, as soon as it is served there."""
    reply = eventually(lambda: (one := asked(lab, server, port))["status"] == 200 and one, f"port {port} is served")
    found: dict[str, Any] = reply["body"]
    return found


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080", ":8080"])
def test_what_comes_to_the_port_is_handed_on_to_the_endpoint(
    web_lab: Lab, apply: Callable[..., Any], endpoint: str
) -> None:
    v1, v2 = address(web_lab, "web-v1"), address(web_lab, "web-v2")
    plain = answered(web_lab, v1, 8080)
    assert asked(web_lab, v1, AT)["status"] == 0, "nobody listens there"
    apply(SIDECAR % {"port": AT, "protocol": "HTTP", "endpoint": endpoint})
    seen = answered(web_lab, v1, AT)
    assert seen["headers"]["x-forwarded-for"] == plain["peer"]
    assert seen["version"] == "v1"
    assert answered(web_lab, v1, 8080)["peer"] == plain["peer"], "a port that is not named is left alone"
    assert asked(web_lab, v2, AT)["status"] == 0, "so is another pod"


def test_a_port_of_bytes_is_not_looked_into(web_lab: Lab, apply: Callable[..., Any]) -> None:
    v1 = address(web_lab, "web-v1")
    apply(SIDECAR % {"port": AT, "protocol": "TCP", "endpoint": "127.0.0.1:8080"})
    seen = answered(web_lab, v1, AT)
    assert "x-forwarded-for" not in seen["headers"]
    assert seen["peer"] == "127.0.0.6"


def test_a_service_leads_pods_of_the_mesh_to_the_port(web_lab: Lab, apply: Callable[..., Any]) -> None:
    apply(SIDECAR % {"port": AT, "protocol": "HTTP", "endpoint": "127.0.0.1:8080"} + BY_NAME % {"port": AT})
    url = "http://moved:81/"

    def reply() -> dict[str, Any]:
        done = web_lab.exec("client", "/usr/bin/python3", ASK, url, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {"status": 0}

    seen = eventually(lambda: (one := reply())["status"] == 200 and one, "the service is served")
    assert seen["body"]["version"] == "v1"
    assert seen["body"]["headers"]["x-forwarded-for"] == address(web_lab, "client")


def test_an_endpoint_where_nobody_listens_is_told_as_such(web_lab: Lab, apply: Callable[..., Any]) -> None:
    v1 = address(web_lab, "web-v1")
    apply(SIDECAR % {"port": AT, "protocol": "HTTP", "endpoint": f"127.0.0.1:{NOWHERE}"})
    eventually(lambda: asked(web_lab, v1, AT)["status"] == 503, "the port is served, the endpoint is not")
