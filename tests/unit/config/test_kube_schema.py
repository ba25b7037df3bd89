"""Kubernetes objects: what reaches the model."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from tests.support.configs import config_of, mesh_of, pod, service

from tidegate.config.protocols import port_protocol
from tidegate.model.kube import Pod, Protocol, Service


def one_service(text: str) -> Service:
    (found,) = config_of(text).services
    return found


def one_pod(text: str) -> Pod:
    (found,) = config_of(text).pods
    return found


@pytest.mark.parametrize(
    ("transport", "app_protocol", "name", "protocol"),
    [
        ("TCP", "", "http", Protocol.HTTP),
        ("TCP", "", "HTTP-web", Protocol.HTTP),
        ("TCP", "", "http2-x", Protocol.HTTP2),
        ("TCP", "", "grpc", Protocol.GRPC),
        ("TCP", "", "grpc-web-x", Protocol.GRPC_WEB),
        ("TCP", "", "httpx", Protocol.TCP),
        ("TCP", "", "https", Protocol.TLS),
        ("TCP", "", "", Protocol.TCP),
        ("TCP", "http", "tcp-odd", Protocol.HTTP),
        ("TCP", "tcp", "http", Protocol.TCP),
        ("TCP", "kubernetes.io/h2c", "x", Protocol.HTTP2),
        ("TCP", "kubernetes.io/ws", "x", Protocol.HTTP),
        ("TCP", "kubernetes.io/wss", "http", Protocol.TLS),
        ("UDP", "http", "http", Protocol.UDP),
    ],
)
def test_port_protocol(transport: str, app_protocol: str, name: str, protocol: Protocol) -> None:
    assert port_protocol(transport, app_protocol, name) is protocol


def test_dual_stack_service() -> None:
    found = one_service(service("web", "http:80:8080", "tcp:81:named", ips="10.96.0.1,fd00::1"))
    assert found.addresses == (ip_address("10.96.0.1"), ip_address("fd00::1"))
    assert [p.target for p in found.ports] == [8080, "named"]
    assert not found.headless


def test_headless_and_external_name() -> None:
    headless = one_service(service("web", "http:80", ips="None"))
    assert headless.headless
    assert headless.addresses == ()
    external = "apiVersion: v1\nkind: Service\nmetadata: {name: e}\nspec: {type: ExternalName, externalName: x.example}"
    assert one_service(external).external_name == "x.example"


@pytest.mark.case("C7")
def test_an_alias_of_nothing_is_told() -> None:
    external = "apiVersion: v1\nkind: Service\nmetadata: {name: e}\nspec: {type: ExternalName, externalName: %s}"
    nothing = external % "gone.default.svc.cluster.local."
    (problem,) = mesh_of({"a.yaml": nothing}).problems
    assert (problem.line, problem.path) == (1, "spec.externalName")
    assert problem.message == "service gone.default.svc.cluster.local does not exist: requests get 503"
    assert not mesh_of({"a.yaml": nothing, "b.yaml": service("gone", "http:80", ips="10.96.0.1")}).problems
    assert not mesh_of({"a.yaml": external % "www.example"}).problems


def test_node_port_service() -> None:
    text = service("web", "http:80", ips="10.96.0.1", spec="type: NodePort").replace(
        "port: 80", "port: 80, nodePort: 30080"
    )
    assert one_service(text).ports[0].node_port == 30080


def test_pod_addresses_and_ports() -> None:
    found = one_pod(pod("p", "app: x", "10.0.0.1", "fd00::1", ports="{containerPort: 80, name: http}"))
    assert found.ips == (ip_address("10.0.0.1"), ip_address("fd00::1"))
    assert found.ready
    assert (found.ports[0].port, found.ports[0].name) == (80, "http")


@pytest.mark.case("D4")
def test_ports_of_a_pod_are_those_of_tcp_with_containers_before_sidecars() -> None:
    found = one_pod("""
        apiVersion: v1
        kind: Pod
        metadata: {name: p}
        spec:
          initContainers:
          - {name: ends, ports: [{containerPort: 1, name: https}]}
          - {name: ends-too, restartPolicy: OnFailure, ports: [{containerPort: 2, name: https}]}
          - {name: sidecar, restartPolicy: Always, ports: [{containerPort: 9443, name: https}]}
          containers:
          - {name: a, ports: [{containerPort: 5353, name: dns, protocol: UDP}]}
          - {name: b, ports: [{containerPort: 5354, name: dns}, {containerPort: 5355, name: s, protocol: SCTP}]}
        """)
    assert [(p.port, p.name) for p in found.ports] == [(5354, "dns"), (9443, "https")]


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ("{podIP: 10.0.0.1}", True),
        ("{}", False),
        ("{podIP: 10.0.0.1, phase: Failed}", False),
        ("{podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}", False),
        ("{podIP: 10.0.0.1, conditions: [{type: Initialized, status: 'True'}, {type: Ready, status: 'True'}]}", True),
    ],
)
def test_readiness(status: str, ready: bool) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c}}]}}\nstatus: {status}"
    assert one_pod(text).ready is ready


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    text = pod("p", "a: b", "10.0.0.1").replace("name: p,", "name: p, deletionTimestamp: '2026-01-01T00:00:00Z',")
    assert not one_pod(text).ready


def test_a_list_is_its_items() -> None:
    text = """
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: v1, kind: Namespace, metadata: {name: a}}
        - {apiVersion: v1, kind: Namespace, metadata: {name: b}}
        """
    assert [(n.name, n.origin.line) for n in config_of(text).namespaces] == [("a", 5), ("b", 6)]
