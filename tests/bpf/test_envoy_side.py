"""What Envoy asks about a connection that it accepted: SO_ORIGINAL_DST, and who the client is."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from cffi import FFI
from tests.bpf.pod import Pod

from tidegate.bpf.datapath import Datapath
from tidegate.model.capture import RANGE_CLIENT_PORT, capture_address
from tidegate.model.net import parse_ip
from tidegate.model.plan.kernel import ANYWHERE, Destination
from tidegate.model.tier import Tier

VIP4, VIP6, PORT = "10.96.0.10", "fd00:96::10", 9080
SO_ORIGINAL_DST = 80


@pytest.fixture(autouse=True)
def _destinations(datapath: Datapath) -> None:
    for vip in (VIP4, VIP6):
        datapath.set_destinations([Destination(ip_address(vip), PORT, Tier.ENVOY, 1)])


def accepted(pod: Pod, tier: Tier, vip: str, **how: Any) -> socket.socket:
    assert not pod.dial(vip, PORT, **how).failed
    return pod.accept(pod.listeners[tier, 6 if vip == VIP6 else 4])[0]


def ask(sock: socket.socket, level: int, length: int, option: int = SO_ORIGINAL_DST) -> bytes | str:
    """The option's bytes, or the name of the errno."""
    try:
        return sock.getsockopt(level, option, length)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.mark.parametrize("vip", [VIP4, f"::ffff:{VIP4}"])
def test_original_destination_v4(datapath: Datapath, pod: Pod, vip: str) -> None:
    server = accepted(pod, Tier.ENVOY, vip)
    answer = ask(server, socket.IPPROTO_IP, 16)
    assert answer == socket.AF_INET.to_bytes(2, "little") + PORT.to_bytes(2, "big") + ip_address(VIP4).packed + bytes(8)
    assert ask(server, socket.IPPROTO_IP, 128) == answer, "the answer is as long as it is, not as the buffer"
    assert datapath.counters()["sockopt_original_dst"] == 2


def test_original_destination_v6(datapath: Datapath, pod: Pod) -> None:
    answer = ask(accepted(pod, Tier.ENVOY, VIP6), socket.IPPROTO_IPV6, 28)
    head = socket.AF_INET6.to_bytes(2, "little") + PORT.to_bytes(2, "big")
    assert answer == head + bytes(4) + ip_address(VIP6).packed + bytes(4)
    assert datapath.counters()["sockopt_original_dst"] == 1


def test_buffer_too_short_or_wrong_family_gets_the_kernels_own_answer(datapath: Datapath, pod: Pod) -> None:
    refusals = {"ENOPROTOOPT", "ENOENT", "EINVAL"}
    assert ask(accepted(pod, Tier.ENVOY, VIP4), socket.IPPROTO_IP, 15) in refusals
    server6 = accepted(pod, Tier.ENVOY, VIP6)
    assert ask(server6, socket.IPPROTO_IPV6, 27) in refusals
    assert ask(server6, socket.IPPROTO_IP, 16) in refusals, "a v6 address does not fit into a sockaddr_in"
    assert datapath.counters()["sockopt_no_record"] == 3


def test_connection_without_a_record(datapath: Datapath, pod: Pod) -> None:
    datapath.detach_lookup(pod.cookie)
    pod.dial("127.77.0.2", pod.port(Tier.ENVOY), cgroup=pod.tree.outside)
    server, shown = pod.accept(pod.listeners[Tier.ENVOY, 4])
    assert isinstance(ask(server, socket.IPPROTO_IP, 16), str)
    assert shown[0] == "127.0.0.1"
    assert datapath.counters()["sockopt_no_record"] == 1


def test_other_options_and_other_sockets_answer_as_ever(datapath: Datapath, pod: Pod) -> None:
    server = accepted(pod, Tier.ENVOY, VIP4)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    small = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
    big = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024)
    assert small[0] == big[0] == 1, "established"
    # The same number at another level, and at ours on the fast path's side, where no hook answers.
    assert isinstance(ask(server, socket.IPPROTO_TCP, 16), str)
    datapath.set_destinations([Destination(ip_address(VIP4), PORT, Tier.FASTPATH, 1)])
    assert isinstance(ask(accepted(pod, Tier.FASTPATH, VIP4), socket.IPPROTO_IP, 16), str)
    counters = datapath.counters()
    assert counters["sockopt_original_dst"] == counters["sockopt_no_record"] == 0


def test_option_longer_than_a_page(pod: Pod) -> None:
    """Kernels before 6.4 fail these with EFAULT once any program runs, unless the program says not to."""
    server = accepted(pod, Tier.ENVOY, VIP4)
    ffi: Any = FFI()
    ffi.cdef("int getsockopt(int, int, int, void *, unsigned int *);")
    value, length = ffi.new("char[]", 8192), ffi.new("unsigned int *", 8192)
    result = ffi.dlopen(None).getsockopt(server.fileno(), socket.IPPROTO_TCP, socket.TCP_INFO, value, length)
    assert result == 0
    assert 100 < length[0] < 1024
    assert value[0] == b"\1", "established"


@pytest.mark.parametrize(("vip", "version"), [(VIP4, 4), (f"::ffff:{VIP4}", 4), (VIP6, 6)])
def test_accept_and_getpeername_show_the_client_pod(datapath: Datapath, pod: Pod, vip: str, version: int) -> None:
    client = pod.dial(vip, PORT)
    server, shown = pod.accept(pod.listeners[Tier.ENVOY, version])
    own = {4: pod.ip4, 6: pod.ip6}[version]
    assert shown == (own, client.own[1]), "what accept() returned"
    assert server.getpeername()[:2] == shown
    there = capture_address(Tier.ENVOY, parse_ip(vip), PORT)
    assert server.getsockname()[:2] == (str(there), pod.port(Tier.ENVOY, version)), "its own end is true"
    assert datapath.counters()["name_client_shown"] == 2


def test_of_a_range_the_clients_port_says_so_and_what_was_dialled_is_told(datapath: Datapath, pod: Pod) -> None:
    datapath.delete_destinations(list(datapath.destinations()))
    datapath.set_destinations([Destination(ANYWHERE, PORT, Tier.ENVOY, 1, bits=0)])
    pod.dial(VIP4, PORT)
    server, shown = pod.accept(pod.listeners[Tier.ENVOY, 4])
    assert shown == server.getpeername()[:2] == (pod.ip4, RANGE_CLIENT_PORT)
    told = ask(server, socket.IPPROTO_IP, 16)
    assert isinstance(told, bytes)
    assert told[2:8] == PORT.to_bytes(2, "big") + parse_ip(VIP4).packed


def test_envoys_other_connections_keep_their_names(datapath: Datapath, pod: Pod) -> None:
    """Its connections to endpoints, and what it accepts elsewhere, e.g. on its admin port."""
    server = pod.server("127.0.0.1", cgroup=pod.tree.envoy)
    at = server.getsockname()
    client = pod.dial(*at, cgroup=pod.tree.envoy)
    assert client.peer == at
    assert pod.accept(server)[1] == client.own
    assert datapath.counters()["name_client_shown"] == 0
