"""The way in: what comes to a pod's ports from elsewhere, and Envoy stands in front of some of them."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from tests.bpf.pod import Pod

from tidegate.bpf.datapath import Datapath
from tidegate.model.capture import CAPTURE4_INBOUND, CAPTURE6_INBOUND
from tidegate.model.plan.kernel import InboundPort

SO_ORIGINAL_DST = 80
AT = {4: CAPTURE4_INBOUND, 6: CAPTURE6_INBOUND}


@pytest.fixture
def application(pod: Pod) -> dict[int, socket.socket]:
    """By family: a server of the pod at its own address; both at one port."""
    first = pod.server(pod.ip4)
    return {4: first, 6: pod.server(pod.ip6, first.getsockname()[1])}


def inbound(datapath: Datapath, pod: Pod, port: int, version: int) -> socket.socket:
    """Envoy's listener in front of the port."""
    listener = pod.server(str(AT[version]), cgroup=pod.tree.envoy)
    datapath.set_inbound(InboundPort(pod.cookie, port, version))
    return listener


def own(pod: Pod, version: int) -> str:
    return pod.ip4 if version == 4 else pod.ip6


@pytest.mark.parametrize("version", [4, 6])
def test_what_comes_from_elsewhere_meets_envoy(
    datapath: Datapath, pod: Pod, application: dict[int, socket.socket], version: int
) -> None:
    """The pod's own address stands for another one: its namespace has no way out."""
    address, port = application[version].getsockname()[:2]
    listener = inbound(datapath, pod, port, version)
    client = pod.dial(address, port, cgroup=pod.tree.outside)
    assert client.peer == (address, port)
    server, shown = pod.accept(listener)
    assert shown == client.own, "Envoy sees who it is"
    assert server.getsockname()[:2] == (address, port), "and what was dialled"
    assert datapath.counters()["lookup_inbound"] >= 1

    datapath.delete_inbound(InboundPort(pod.cookie, port, version))
    assert not pod.dial(address, port, cgroup=pod.tree.outside).failed
    assert pod.accept(application[version])


@pytest.mark.parametrize(("version", "level", "length"), [(4, socket.IPPROTO_IP, 16), (6, socket.IPPROTO_IPV6, 28)])
def test_envoy_is_told_what_was_dialled_as_on_the_way_out(
    datapath: Datapath, pod: Pod, application: dict[int, socket.socket], version: int, level: int, length: int
) -> None:
    port = application[version].getsockname()[1]
    listener = inbound(datapath, pod, port, version)
    pod.dial(own(pod, version), port, cgroup=pod.tree.outside)
    answer = pod.accept(listener)[0].getsockopt(level, SO_ORIGINAL_DST, length)
    assert answer[2:4] == port.to_bytes(2, "big")
    assert ip_address(own(pod, version)).packed in answer
    assert datapath.counters()["sockopt_original_dst"] == 1


@pytest.mark.parametrize(("version", "source"), [(4, "127.0.0.6"), (6, "::1")])
def test_what_envoy_hands_on_reaches_the_application(
    datapath: Datapath, pod: Pod, application: dict[int, socket.socket], version: int, source: str
) -> None:
    port = application[version].getsockname()[1]
    inbound(datapath, pod, port, version)
    client = pod.dial(own(pod, version), port, bind=source, cgroup=pod.tree.envoy)
    assert pod.accept(application[version])[1] == client.own
    assert datapath.counters()["lookup_inbound"] == 0


def test_localhost_of_the_pod_is_its_own_business(datapath: Datapath, pod: Pod) -> None:
    server = pod.server("127.0.0.1")
    port = server.getsockname()[1]
    inbound(datapath, pod, port, 4)
    assert not pod.dial("127.0.0.1", port).failed
    assert pod.accept(server)


def test_other_ports_families_and_pods_are_left_alone(
    datapath: Datapath, pod: Pod, application: dict[int, socket.socket]
) -> None:
    port = application[4].getsockname()[1]
    inbound(datapath, pod, port, 4)
    datapath.set_inbound(InboundPort(pod.cookie + 1, application[6].getsockname()[1], 6))
    other = pod.server(pod.ip4)
    assert not pod.dial(pod.ip4, other.getsockname()[1], cgroup=pod.tree.outside).failed
    assert pod.accept(other)
    assert not pod.dial(pod.ip6, port, cgroup=pod.tree.outside).failed
    assert pod.accept(application[6])
    assert datapath.counters()["lookup_inbound"] == 0


def test_without_envoy_nobody_gets_past_it(datapath: Datapath, pod: Pod, application: dict[int, socket.socket]) -> None:
    port = application[4].getsockname()[1]
    listener = inbound(datapath, pod, port, 4)
    listener.close()
    assert pod.dial(pod.ip4, port, cgroup=pod.tree.outside).failed == "ECONNREFUSED"
    assert datapath.counters()["lookup_deny_inbound"] == 1


@pytest.mark.parametrize("version", [4, 6])
def test_nobody_dials_envoys_listener_itself(datapath: Datapath, pod: Pod, version: int) -> None:
    listener = pod.server(str(AT[version]), cgroup=pod.tree.envoy)
    address, port = listener.getsockname()[:2]
    assert pod.dial(address, port).failed == "ECONNREFUSED"
    assert datapath.counters()["deny_capture_address"] == 1
    assert pod.dial(address, port, cgroup=pod.tree.outside).failed == "ECONNREFUSED"
    assert datapath.counters()["lookup_deny_unrecorded"] == 1


def test_an_application_does_not_stand_in_for_envoy(
    datapath: Datapath, pod: Pod, application: dict[int, socket.socket]
) -> None:
    port = application[4].getsockname()[1]
    pod.server(str(CAPTURE4_INBOUND))
    datapath.set_inbound(InboundPort(pod.cookie, port, 4))
    assert pod.dial(pod.ip4, port, cgroup=pod.tree.outside).failed == "ECONNREFUSED"


def test_rows_are_read_as_they_were_written(datapath: Datapath) -> None:
    ports = {InboundPort(1, 80, 4), InboundPort(2**63 + 1, 65535, 6)}
    for port in ports:
        datapath.set_inbound(port)
        datapath.set_inbound(port)
    assert datapath.inbound() == ports
    for port in (*ports, *ports):
        datapath.delete_inbound(port)
    assert datapath.inbound() == set()
