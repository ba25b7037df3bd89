"""A pod dials a service, and a proxy behind it connects to another one: DestinationRule's tunnel, on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.configs import service
from tests.support.eventually import eventually
from tests.support.lab import ROOT, Lab

LINES = str(ROOT / "tests/support/lines.py")
PROXY = str(ROOT / "tests/support/connect_proxy.py")
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  containers:
  - name: c
    command: {command}
    ports: [{{containerPort: 7000}}]
{more}
"""
PROBE = "    readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 0.2, failureThreshold: 100, timeoutSeconds: 60}"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: outside, namespace: default}}
spec:
  host: outside
  trafficPolicy:
    tunnel: {{targetHost: db.default.svc.cluster.local, targetPort: {port}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    manifest = tmp_path_factory.mktemp("manifest") / "tunnels.yaml"
    parts = (
        NAMESPACE,
        service("db", "tcp:5432:7000"),
        service("outside", "tcp:443:7000", selector="app: proxy"),
        POD.format(name="db", command=json.dumps(["/usr/bin/python3", LINES, "serve", "7000"]), more=PROBE),
        POD.format(name="proxy", command=json.dumps(["/usr/bin/python3", PROXY, "7000"]), more=PROBE),
        POD.format(name="client", command='["/bin/sleep", "infinity"]', more=""),
    )
    manifest.write_text("\n---\n".join(parts))
    lab = Lab("tunnels")
    lab.up(manifest)
    yield lab
    lab.down(content=True)


def knock(lab: Lab) -> str:
    """The first line that a pod hears which dials the service, or `end`."""
    return lab.exec("client", "/usr/bin/python3", LINES, "knock", "outside", "443").stdout.strip()


def explained(lab: Lab) -> str:
    return lab.tidegate("explain", "default/client", "outside:443", check=False).stdout


def test_a_pod_reaches_through_a_proxy_what_it_does_not_dial(lab: Lab) -> None:
    """The proxy is a pod as well: what it connects to sees it, and no client."""
    lab.apply(RULE.format(port=5432))
    assert json.loads(knock(lab))["client"] == lab.address("default/proxy", "4")
    told = explained(lab)
    assert "a tunnel to db.default.svc.cluster.local:5432 (CONNECT)" in told, told


def test_whom_the_proxy_refuses_gets_nothing(lab: Lab) -> None:
    lab.apply(RULE.format(port=6000))
    eventually(lambda: "local:6000" in explained(lab), "the rule is in force")
    assert knock(lab) == "end"
