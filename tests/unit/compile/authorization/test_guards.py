"""Which pods are led to the relay, and by which rows."""

from __future__ import annotations

from ipaddress import ip_address

from tests.support.configs import ENROLLED, config_of, pod, sandbox
from tests.unit.compile.authorization.test_conversion import policy

from tidegate.compile.authorization.guards import guards
from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.model.plan.kernel import GuardRow
from tidegate.model.plan.policy import NO_POLICIES

PROBED = """
apiVersion: v1
kind: Pod
metadata: {name: probed, namespace: default, labels: {app: db}}
spec:
  containers:
  - name: one
    ports: [{containerPort: 8080, name: web}]
    livenessProbe: {httpGet: {port: web, path: /}}
    readinessProbe: {tcpSocket: {port: 9000}, timeoutSeconds: 60}
    startupProbe: {exec: {command: [x]}}
  - name: two
    livenessProbe: {grpc: {port: 9001}}
    readinessProbe: {httpGet: {port: 7, host: example.com}}
  initContainers:
  - {name: ends, readinessProbe: {tcpSocket: {port: 1}}}
  - {name: sidecar, restartPolicy: Always, startupProbe: {tcpSocket: {port: '9002'}}}
status: {podIP: 10.244.0.2, podIPs: [{ip: 10.244.0.2}, {ip: 'fd00::2'}]}
"""
SANDBOX = sandbox("probed", "10.244.0.2", cookie=2)


def rows(*texts: str, cookie: int = 2) -> frozenset[GuardRow]:
    found = join(config_of(ENROLLED, PROBED, pod("other", "app: other", "10.244.0.3"), *texts), (SANDBOX,))
    return next(one.guards for one in compile_plan(found).pods if one.netns_cookie == cookie)


def test_a_pod_of_whom_nobody_speaks_has_none() -> None:
    assert rows() == frozenset()
    assert rows(policy("selector: {matchLabels: {app: x}}, rules: [{}]", "other", "default")) == frozenset()


def test_a_pod_is_led_there_with_its_addresses_and_probes() -> None:
    found = rows(policy("rules: [{}]", "here", "default"))
    assert GuardRow(2) in found
    assert {row.port for row in found if row.port} == {8080, 9000, 9001, 9002}
    assert {row.address for row in found if row.address} == {*SANDBOX.ips}
    assert ip_address("10.244.0.2") in SANDBOX.ips


def test_one_that_audits_leads_there_too() -> None:
    assert rows(policy("action: AUDIT, rules: [{}]", "here", "default"))


def test_a_pod_that_is_in_no_table_has_none() -> None:
    facts = join(config_of(ENROLLED, PROBED), (SANDBOX,))
    assert guards(SANDBOX, facts.pods[SANDBOX.id], NO_POLICIES) == frozenset()
