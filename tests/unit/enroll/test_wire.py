from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest

from tidegate.enroll import wire
from tidegate.enroll.wire import Command
from tidegate.errors import Rejected, Transient
from tidegate.model.names import WorkloadId

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1"


def line(**changes: Any) -> bytes:
    message: dict[str, Any] = {
        "protocol": wire.PROTOCOL,
        "command": "ADD",
        "containerId": "c1",
        "netns": "/run/netns/x",
        "ifname": "eth0",
        "args": ARGS,
        "path": "/opt/cni/bin",
        "config": {
            "cniVersion": "1.0.0",
            "prevResult": {"ips": [{"address": "10.0.0.2/24"}, {"address": "fd00::2/64"}]},
        },
    }
    return json.dumps({**message, **changes}).encode()


def test_an_add_says_which_pod_and_which_addresses() -> None:
    request = wire.parse(line(), 7)
    assert (request.command, request.pod, request.netns_fd) == (Command.ADD, WorkloadId("shop", "web-0"), 7)
    assert request.ips == (ip_address("10.0.0.2"), ip_address("fd00::2"))
    assert request.cni_version == "1.0.0"


def test_results_of_older_versions_are_read() -> None:
    old = {"cniVersion": "0.3.1", "prevResult": {"ips": [{"version": "4", "address": "10.0.0.2/24", "interface": 2}]}}
    assert wire.parse(line(config=old), 7).ips == (ip_address("10.0.0.2"),)


@pytest.mark.parametrize(("args", "name"), [("IgnoreUnknown=1;K8S_POD_NAME=one", "one"), ("", "c1")])
def test_without_kubernetes_there_is_no_namespace(args: str, name: str) -> None:
    request = wire.parse(line(args=args, containerId="c1"), 7)
    assert (request.pod, request.kubernetes) == (WorkloadId("default", name), False)


def test_a_del_needs_little() -> None:
    request = wire.parse(line(command="DEL", args="", netns="", config={"cniVersion": "0.4.0"}), -1)
    assert (request.pod, request.ips, request.netns_fd) == (WorkloadId("", ""), (), -1)


@pytest.mark.parametrize("command", ["STATUS", "GC"])
def test_calls_about_no_sandbox(command: str) -> None:
    assert wire.parse(line(command=command, containerId="", args=""), -1).command == command


@pytest.mark.case("E2")
@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_a_gc_says_what_stays(key: str) -> None:
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c1", "ifname": "net1", "more": 1}]
    request = wire.parse(line(command="GC", config={"name": "pods", key: listed}), -1)
    assert (request.network, request.valid) == ("pods", frozenset({("c1", "eth0"), ("c1", "net1")}))


@pytest.mark.case("E2")
def test_a_gc_that_lists_nothing_is_not_one_that_has_no_list() -> None:
    assert wire.parse(line(command="GC", config={"cni.dev/valid-attachments": None}), -1).valid == frozenset()
    assert wire.parse(line(command="GC", config={"cni.dev/valid-attachments": []}), -1).valid == frozenset()
    assert wire.parse(line(command="GC", config={}), -1).valid is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"command": "GC", "config": {"cni.dev/valid-attachments": [{"ifname": "eth0"}]}}, "is no list of objects"),
        ({"command": "GC", "config": {"cni.dev/valid-attachments": 7}}, "is no list of objects"),
        ({"command": "GC", "config": {"cni.dev/valid-attachments": ["c1"]}}, "is no list of objects"),
        ({"protocol": 99}, "speaks another protocol"),
        ({"command": "DANCE"}, "unknown command 'DANCE'"),
        ({"containerId": "../../etc/passwd"}, "is not a container id"),
        ({"containerId": None}, "is not a container id"),
        ({"args": "K8S_POD_NAMESPACE=shop"}, "has K8S_POD_NAMESPACE but no K8S_POD_NAME"),
        ({"config": {"prevResult": {"ips": [{"address": "here"}]}}}, "has no usable ips"),
        ({"config": {"prevResult": {"ips": [1]}}}, "has no usable ips"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        wire.parse(line(**changes), 7)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff"])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected, match="CNI request"):
        wire.parse(data, -1)


def test_only_what_may_succeed_later_is_try_again() -> None:
    later = json.loads(wire.failure(Transient("pod shop/web", "not enrolled", "try again")))["error"]
    never = json.loads(wire.failure(Rejected("CNI_ARGS", "has no pod")))["error"]
    assert (later["code"], later["msg"], later["details"]) == (11, "pod shop/web", "not enrolled; try again")
    assert never["code"] == wire.REFUSED
    assert "error" not in json.loads(wire.success())


@pytest.mark.case("E2")
@pytest.mark.parametrize(("limited", "code"), [(False, 50), (True, 51)])
def test_the_answer_to_status_has_the_specifications_codes(limited: bool, code: int) -> None:
    said = json.loads(wire.failure(wire.NotServing("the agent", "not ready: relay up", limited=limited)))["error"]
    assert (said["code"], said["details"]) == (code, "not ready: relay up")
