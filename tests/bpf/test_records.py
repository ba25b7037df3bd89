"""sockops: the record of a connection is there as long as anybody may ask for it, and not longer."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.bpf.pod import SECONDS, Dialled, Pod, connect
from tests.support.eventually import eventually

from tidegate.bpf.datapath import Datapath
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier

VIP, PORT = "10.96.0.10", 9080
VIPS = {4: VIP, 6: "fd00:96::10"}
FIN_WAIT2 = 5
ABORT = b"\1\0\0\0\0\0\0\0"  # struct linger { 1, 0 }: close() resets


@pytest.fixture(autouse=True, params=[Tier.FASTPATH, Tier.ENVOY])
def tier(request: pytest.FixtureRequest, datapath: Datapath) -> Tier:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, request.param, 1)])
    return Tier(request.param)


def gone(datapath: Datapath) -> None:
    eventually(lambda: datapath.flow_count() == 0, "no record is left")


def multipath(datapath: Datapath, pod: Pod, tier: Tier, family: int) -> tuple[Dialled, socket.socket]:
    """A captured connection of a multipath socket, and its end at the listener."""
    datapath.set_destinations([Destination(ip_address(VIPS[family]), PORT, tier, 1)])
    client = pod.dial(VIPS[family], PORT, protocol=socket.IPPROTO_MPTCP)
    assert not client.failed
    server, _ = pod.accept(pod.listeners[tier, family])
    return client, server


def test_client_that_sends_and_closes_before_it_is_accepted(datapath: Datapath, pod: Pod, tier: Tier) -> None:
    """Once its FIN is acknowledged its socket is a mere stub, but the listener has yet to ask."""
    source = pod.run(send_and_close)
    eventually(lambda: pod.run(lambda: tcp_state(source)) == FIN_WAIT2, "the listener's kernel has taken the FIN")
    record = datapath.flow(pod.flow_key(tier, 4, ("127.0.0.1", source), (VIP, PORT)))
    assert record is not None
    assert record.destination == ip_address(VIP)
    server, _ = pod.accept(pod.listeners[tier, 4])
    assert server.recv(64) == b"fire and forget"
    assert server.recv(64) == b""
    server.close()
    gone(datapath)


def send_and_close() -> int:
    client = connect(VIP, PORT)
    client.sock.sendall(b"fire and forget")
    source = client.own[1]
    client.close()
    return source


def tcp_state(port: int) -> int:
    """State (tcp_states.h) of the v4 socket with this local port in the caller's netns; 0 = none."""
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            return int(fields[3], 16)
    return 0


def test_server_closes_first(datapath: Datapath, pod: Pod, tier: Tier) -> None:
    client = pod.dial(VIP, PORT)
    server, _ = pod.accept(pod.listeners[tier, 4])
    server.close()
    client.sock.settimeout(SECONDS)
    assert client.sock.recv(1) == b""
    client.close()
    gone(datapath)


@pytest.mark.parametrize("who", ["client", "server"])
def test_reset(datapath: Datapath, pod: Pod, tier: Tier, who: str) -> None:
    client = pod.dial(VIP, PORT)
    server, _ = pod.accept(pod.listeners[tier, 4])
    assert datapath.flow_count() == 1
    aborted, other = (client.sock, server) if who == "client" else (server, client.sock)
    aborted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    aborted.close()
    gone(datapath)
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_refused_by_the_listener(datapath: Datapath, pod: Pod, tier: Tier) -> None:
    pod.listeners[tier, 4].close()
    assert pod.dial(VIP, PORT).failed == "ECONNREFUSED"
    assert datapath.counters()["sockops_recorded"] == 1
    gone(datapath)


def test_listener_dies_with_connections_waiting(datapath: Datapath, pod: Pod, tier: Tier) -> None:
    clients = [pod.dial(VIP, PORT) for _ in range(3)]
    assert datapath.flow_count() == 3
    pod.listeners[tier, 4].close()
    gone(datapath)
    for client in clients:
        client.sock.settimeout(SECONDS)
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)


def test_many_connections_one_after_the_other(datapath: Datapath, pod: Pod, tier: Tier) -> None:
    seen = set()
    for _ in range(50):
        client = pod.dial(VIP, PORT)
        assert not client.failed
        server, _ = pod.accept(pod.listeners[tier, 4])
        seen.add(client.own[1])
        record = datapath.flow(pod.flow_key(tier, 4, ("127.0.0.1", client.own[1]), (VIP, PORT)))
        assert record is not None
        client.close()
        server.close()
    assert len(seen) == 50
    gone(datapath)


@pytest.mark.case("B8")
@pytest.mark.parametrize("end", ["stays", "then closes"])
def test_a_source_port_is_used_again_while_the_other_end_of_its_last_connection_is_open(
    datapath: Datapath, pod: Pod, tier: Tier, end: str
) -> None:
    """The end that was left over is reset by the new SYN; it must not take the new connection's record with it."""
    pod.run(lambda: Path("/proc/sys/net/ipv4/tcp_fin_timeout").write_text("1"))
    first = pod.dial(VIP, PORT)
    server, (_, port) = pod.accept(pod.listeners[tier, 4])
    first.close()
    assert server.recv(1) == b""
    eventually(lambda: pod.run(lambda: tcp_state(port)) == 0, "the client's stub is gone")
    record = datapath.flow(pod.flow_key(tier, 4, ("127.0.0.1", port), (VIP, PORT)))
    assert record is not None, "the end that is left may still ask"
    second = pod.dial(VIP, PORT, bind="0.0.0.0", bind_port=port)
    assert not second.failed
    assert (second.peer, second.own) == ((VIP, PORT), (pod.ip4, port))
    again, _ = pod.accept(pod.listeners[tier, 4])
    if end == "then closes":
        server.close()
    assert datapath.flow(pod.flow_key(tier, 4, ("127.0.0.1", port), (VIP, PORT))) is not None
    second.close()
    again.close()
    server.close()
    gone(datapath)


@pytest.mark.case("B11")
@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_of_multipath_tcp_is_told_what_it_dialled(
    datapath: Datapath, pod: Pod, tier: Tier, family: int
) -> None:
    client, server = multipath(datapath, pod, tier, family)
    assert client.peer == (VIPS[family], PORT)
    assert client.own[0] == (pod.ip4 if family == 4 else pod.ip6)
    client.sock.sendall(b"x")
    assert server.recv(1) == b"x"
    client.close()
    server.close()
    gone(datapath)


@pytest.mark.case("B11")
@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_of_multipath_tcp_knows_its_own_address_when_its_connection_has_ended(
    datapath: Datapath, pod: Pod, tier: Tier, family: int
) -> None:
    """The kernel closes the connection below it long before the application closes its socket."""
    client, server = multipath(datapath, pod, tier, family)
    server.close()
    client.sock.settimeout(SECONDS)
    assert client.sock.recv(1) == b""
    client.sock.shutdown(socket.SHUT_WR)
    gone(datapath)
    assert client.sock.getsockname()[:2] == client.own
    client.close()


@pytest.mark.case("B11")
def test_a_socket_of_multipath_tcp_that_was_not_captured_has_the_kernels_address(
    datapath: Datapath, pod: Pod, tier: Tier
) -> None:
    with pod.server("127.0.0.1") as server:
        client = pod.dial("127.0.0.1", server.getsockname()[1], protocol=socket.IPPROTO_MPTCP)
        assert not client.failed
        assert client.own[0] == client.peer[0] == "127.0.0.1"
        client.close()
