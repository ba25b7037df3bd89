"""Pods that policies are for: the kernel leads what comes to them to the relay, and says whose socket it comes from."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from tests.bpf.pod import CLIENT, SERVER, Pod, join

from tidegate.bpf.datapath import Datapath
from tidegate.model.capture import CAPTURE4_INBOUND
from tidegate.model.net import to_wire
from tidegate.model.plan.kernel import GuardRow, InboundPort
from tidegate.model.tier import Tier
from tidegate.native import checked, ffi, lib

BOTH = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def server(pod: Pod, datapath: Datapath) -> Pod:
    """A pod that policies are for."""
    for version in (4, 6):
        datapath.set_guard(GuardRow(pod.cookie, address=ip_address(SERVER[version])))
    datapath.set_guard(GuardRow(pod.cookie))
    return pod


@pytest.fixture
def client(server: Pod, make_pod: Callable[[], Pod], datapath: Datapath) -> Pod:
    """Another pod in the mesh, with a link to that one."""
    other = make_pod()
    other.listen()
    datapath.set_pod(other.cookie, other.row())
    join(server, other)
    return other


def called_by(datapath: Datapath, sock: socket.socket) -> Any:
    """What the kernel keeps with an accepted socket; None if nothing."""
    found = ffi.new("struct tg_caller *")
    result = lib.tgb_map_get(datapath.called_fd, ffi.new("int *", sock.fileno()), found)
    return None if result < 0 else found


def relay_of(pod: Pod, version: int) -> socket.socket:
    return pod.listeners[Tier.FASTPATH, version]


@BOTH
def test_what_comes_to_such_a_pod_meets_the_relay_who_is_told_whose_socket_it_is(
    datapath: Datapath, server: Pod, client: Pod, version: int
) -> None:
    application = server.server(SERVER[version])
    port = application.getsockname()[1]
    dialled = client.dial(SERVER[version], port)
    assert not dialled.failed
    accepted, shown = server.accept(relay_of(server, version))
    assert shown == dialled.own, "the relay sees who it is"
    assert accepted.getsockname()[:2] == (SERVER[version], port), "and what was dialled"
    assert called_by(datapath, accepted).netns_cookie == client.cookie
    counted = datapath.counters()
    assert (counted["lookup_guarded"], counted["sockops_called"]) == (1, 1)


@BOTH
def test_a_socket_that_no_hook_sees_has_no_name(datapath: Datapath, server: Pod, client: Pod, version: int) -> None:
    """A process that left its pod's group, or one of another machine: the address says nothing."""
    port = server.server(SERVER[version]).getsockname()[1]
    assert not client.dial(SERVER[version], port, cgroup=client.tree.outside).failed
    accepted, _ = server.accept(relay_of(server, version))
    assert called_by(datapath, accepted) is None


def test_the_same_addresses_later_are_not_taken_for_who_had_them(datapath: Datapath, server: Pod, client: Pod) -> None:
    port = server.server(SERVER[4]).getsockname()[1]
    first = client.dial(SERVER[4], port, bind=CLIENT[4], bind_port=40001)
    assert called_by(datapath, server.accept(relay_of(server, 4))[0]).netns_cookie == client.cookie
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    first.close()
    again = client.dial(SERVER[4], port, bind=CLIENT[4], bind_port=40001, cgroup=client.tree.outside)
    assert not again.failed
    assert called_by(datapath, server.accept(relay_of(server, 4))[0]) is None


def test_a_connection_that_nobody_took_leaves_no_record(datapath: Datapath, server: Pod, client: Pod) -> None:
    relay_of(server, 4).close()
    refused = client.dial(SERVER[4], 9, bind=CLIENT[4], bind_port=40002)
    assert refused.failed == "ECONNREFUSED", "without a relay nobody gets past it"
    refused.close()
    assert datapath.counters()["lookup_deny_guarded"] == 1
    datapath.delete_guard(GuardRow(server.cookie))
    application = server.server(SERVER[4])
    assert not client.dial(
        SERVER[4], application.getsockname()[1], bind=CLIENT[4], bind_port=40002, cgroup=client.tree.outside
    ).failed
    assert called_by(datapath, server.accept(application)[0]) is None


@BOTH
def test_the_application_sees_for_whom_the_relay_called(
    datapath: Datapath, server: Pod, client: Pod, version: int
) -> None:
    application = server.server(SERVER[version])
    port = application.getsockname()[1]
    dialled = call_for(
        datapath, server, (SERVER[version], port), ("192.0.2.7" if version == 4 else "2001:db8::7", 4711)
    )
    accepted, shown = accept_in(server, application)
    assert shown == ("192.0.2.7" if version == 4 else "2001:db8::7", 4711) == accepted
    assert dialled[1] == port
    assert datapath.counters()["name_caller_shown"] >= 2


def call_for(datapath: Datapath, pod: Pod, to: tuple[str, int], client: tuple[str, int]) -> tuple[str, int]:
    """A connection as the relay makes it behind its verdict."""

    def dial() -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_STREAM)
        told = ffi.new("struct tg_caller *", {"client_port_be": socket.htons(client[1])})
        told.client.ip = to_wire(ip_address(client[0]))
        checked(lib.tgb_map_set(datapath.called_fd, ffi.new("int *", sock.fileno()), told), "tg_called")
        sock.connect(to)
        return sock

    address, port = pod.run(dial, pod.tree.agent).getpeername()[:2]
    return address, port


def accept_in(pod: Pod, listener: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    """getpeername() and what accept() says, in a process of the pod."""
    sock, shown = pod.accept(listener)
    named: tuple[str, int] = pod.run(lambda: sock.getpeername()[:2])
    return named, shown


@BOTH
def test_a_pod_is_nobody_to_itself(datapath: Datapath, server: Pod, client: Pod, version: int) -> None:
    """What it dials at its own address is its own business, as upstream; so the relay hands on what it let pass."""
    application = server.server(SERVER[version])
    assert not server.dial(SERVER[version], application.getsockname()[1]).failed
    assert server.accept(application)
    assert datapath.counters()["lookup_guarded"] == 0


def test_behind_the_relay_envoy_is_next(datapath: Datapath, server: Pod, client: Pod) -> None:
    port = server.server(SERVER[4]).getsockname()[1]
    envoy = server.server(str(CAPTURE4_INBOUND), cgroup=server.tree.envoy)
    datapath.set_inbound(InboundPort(server.cookie, port, 4))
    client.dial(SERVER[4], port)
    assert server.accept(relay_of(server, 4)), "policies come first"
    call_for(datapath, server, (SERVER[4], port), ("192.0.2.7", 4711))
    assert server.accept(envoy)[1] == ("192.0.2.7", 4711), "and Envoy sees who it is"


@pytest.mark.parametrize("probed", [True, False])
def test_the_nodes_probes_pass_at_their_ports(datapath: Datapath, server: Pod, client: Pod, *, probed: bool) -> None:
    """The other pod stands for the node: its namespace is told as the node's."""
    tables = datapath.settings()
    datapath.write_settings(tables.agent_cgroup, tables.envoy_cgroup, client.cookie)
    application = server.server(SERVER[4])
    port = application.getsockname()[1]
    datapath.set_guard(GuardRow(server.cookie, port if probed else port + 1))
    assert not client.dial(SERVER[4], port).failed
    assert server.accept(application if probed else relay_of(server, 4))
    assert datapath.counters()["lookup_probe"] == int(probed)


def test_rows_are_what_was_written_and_an_address_stays_its_new_owners(datapath: Datapath, pod: Pod) -> None:
    address = ip_address("10.78.0.9")
    rows = {GuardRow(7), GuardRow(7, 80), GuardRow(7, 0, address), GuardRow(8, 0, ip_address("fd00::9"))}
    for row in rows:
        datapath.set_guard(row)
    assert datapath.guard_rows() == rows
    datapath.set_guard(GuardRow(9, 0, address))
    datapath.delete_guard(GuardRow(7, 0, address))
    assert GuardRow(9, 0, address) in datapath.guard_rows()
    for row in datapath.guard_rows():
        datapath.delete_guard(row)
        datapath.delete_guard(row)
    assert datapath.guard_rows() == set()


def test_the_node_is_where_the_agent_is(datapath: Datapath) -> None:
    with socket.socket() as probe:
        own = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder)  # SO_NETNS_COOKIE
    assert datapath.settings().node_netns == own
