"""A server that answers in two sends does not wait for an acknowledgement that a kept connection delays."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bpf.pod import Pod, Tree

from tidegate.bpf.datapath import Datapath

TCP_DELACK_MAX_US = 46  # microseconds; the option shows since Linux 6.17 what programs may set since 5.11
USUAL_DELACK_US = 200_000
REQUESTS = 20


def nodelay(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def served(pod: Pod, address: str, cgroup: Path | None = None) -> tuple[socket.socket, socket.socket]:
    """The two ends of a connection inside the pod: of the client, and of a server of the pod's own."""
    listener = pod.server(address)
    client = pod.dial(address, listener.getsockname()[1], cgroup=cgroup)
    assert not client.failed
    return client.sock, pod.accept(listener)[0]


@pytest.mark.case("C4")
@pytest.mark.parametrize("version", [4, 6])
def test_a_server_of_a_pod_sends_at_once(pod: Pod, datapath: Datapath, version: int) -> None:
    client, server = served(pod, pod.ip4 if version == 4 else pod.ip6)
    assert nodelay(server)
    assert not nodelay(client), "what an application opens itself is its own business"
    assert datapath.counters()["served_delays"] == 0


@pytest.mark.case("C4")
def test_the_second_of_two_sends_waits_for_nobody(pod: Pod) -> None:
    """On a kept connection whose client acknowledges late, as Envoy's are: nothing is ever left to be sent."""
    client, server = served(pod, pod.ip4)
    for _ in range(REQUESTS):
        client.sendall(b"GET")
        assert server.recv(64) == b"GET"
        server.send(b"head")
        server.send(b"body")
        # tcpi_notsent_bytes (linux/tcp.h): what Nagle's rule keeps back.
        assert int.from_bytes(server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[172:176], "little") == 0
        assert client.recv(8, socket.MSG_WAITALL) == b"headbody"


@pytest.mark.case("C4")
def test_a_pod_that_is_not_in_the_mesh_keeps_its_own_ways(make_pod: Callable[[], Pod], datapath: Datapath) -> None:
    _, server = served(make_pod(), "127.0.0.1")
    assert not nodelay(server)


@pytest.mark.case("C4")
def test_envoy_acknowledges_earlier_than_others(make_pod: Callable[[], Pod], datapath: Datapath, tree: Tree) -> None:
    pod = make_pod()
    client, _ = served(pod, "127.0.0.1", tree.envoy)
    usual, _ = served(pod, "127.0.0.1")
    told = [delayed(sock) for sock in (client, usual)]
    assert told in ([20_000, USUAL_DELACK_US], [8_000, USUAL_DELACK_US], [2_000, USUAL_DELACK_US], [None, None])


def delayed(sock: socket.socket) -> int | None:
    """How late an acknowledgement may be, in microseconds; None on a kernel that does not tell."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_DELACK_MAX_US)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return None
