from __future__ import annotations

from ipaddress import ip_address

import pytest
from tests.support.documents import documents

from tidegate.errors import Rejected
from tidegate_lab.expansion import command_line, environment, expand, port_number
from tidegate_lab.workloads import bare_pod

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: default, labels: {app: web}}
spec:
  serviceAccountName: robot
  containers:
  - name: c
    command: ["$(LAB_MANIFEST_DIR)/serve", "$(PORT)"]
    args: ["$(ABSENT)", "$$(PORT)", "$(LATER)"]
    ports: [{containerPort: 8080, name: http}]
    env:
    - {name: FIRST, value: "$(LATER)"}
    - {name: LATER, value: later}
    - {name: PORT, value: "80$(LATER)"}
    - {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
"""


def env_of(text: str) -> dict[str, str]:
    pod = bare_pod(documents(text, "/m/sub/app.yaml")[0])
    ips = (ip_address("10.77.1.2"), ip_address("fd77::2"))
    return environment(pod, pod.spec.containers[0], "node1", ip_address("172.30.0.1"), ips)


def test_variables_see_those_before_them() -> None:
    env = env_of(POD)
    assert env["FIRST"] == "$(LATER)"
    assert env["PORT"] == "80later"


def test_the_downward_api_tells_what_the_pod_is() -> None:
    env = env_of(POD)
    told = (env["ME"], env["IPS"], env["ACCOUNT"], env["APP"])
    assert told == ("one", "10.77.1.2,fd77::2", "robot", "web")


def test_command_and_arguments_are_expanded() -> None:
    container = bare_pod(documents(POD, "/m/sub/app.yaml")[0]).spec.containers[0]
    words = command_line(container, env_of(POD))
    assert words == ["/m/sub/serve", "80later", "$(ABSENT)", "$(PORT)", "later"]


def test_what_the_lab_cannot_give_is_refused() -> None:
    with pytest.raises(Rejected, match="valueFrom"):
        env_of(POD.replace("fieldPath: metadata.name", "fieldPath: metadata.uid"))


@pytest.mark.parametrize(("text", "expected"), [("a$b", "a$b"), ("$$", "$"), ("$(A)$(A)", "11"), ("$(", "$(")])
def test_expand(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_ports_by_name() -> None:
    container = bare_pod(documents(POD)[0]).spec.containers[0]
    assert (port_number(container, "http"), port_number(container, "81"), port_number(container, 82)) == (8080, 81, 82)
    with pytest.raises(Rejected, match="no TCP port named 'grpc'"):
        port_number(container, "grpc")


@pytest.mark.case("D4")
def test_a_name_means_a_tcp_port_and_sidecars_have_names_too() -> None:
    text = POD.replace("name: http}", "name: http, protocol: UDP}")
    container = bare_pod(documents(text)[0]).spec.containers[0]
    with pytest.raises(Rejected, match="no TCP port named 'http'"):
        port_number(container, "http")
    sidecars = (
        "spec:\n  initContainers:\n"
        "  - {name: ends, command: [x]}\n"
        "  - {name: sidecar, restartPolicy: Always, command: [x]}\n"
    )
    spec = bare_pod(documents(POD.replace("spec:\n", sidecars))[0]).spec
    assert [c.name for c in spec.long_running] == [*(c.name for c in spec.containers), "sidecar"]
