"""setsockopt in a pod: what is meant for the way to the server is written down, before and after connect."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from tests.bpf.pod import Pod
from tests.support.eventually import eventually
from tests.support.flows import WISH_BITS

from tidegate.bpf import records
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import FlowKey
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier
from tidegate.native import ffi, lib

VIP, PORT = "10.96.0.10", 9080
TCP = socket.IPPROTO_TCP
TCP_SYNCNT = 7
WISHES = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (TCP, socket.TCP_KEEPIDLE, 11),
    (TCP, socket.TCP_KEEPINTVL, 12),
    (TCP, socket.TCP_KEEPCNT, 13),
    (TCP, socket.TCP_USER_TIMEOUT, 14000),
    (socket.IPPROTO_IP, socket.IP_TOS, 0xB8),
    (socket.IPPROTO_IP, socket.IP_TTL, 5),
    (TCP, TCP_SYNCNT, 2),
]
ALL = {"keepalive": 1, "idle_s": 11, "interval_s": 12, "probes": 13, "user_timeout_ms": 14000, "tos": 0xB8}
ALL |= {"hops": 5, "syn_retries": 2}


@pytest.fixture(autouse=True)
def destination(datapath: Datapath) -> None:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 1)])


def told(datapath: Datapath, key: FlowKey) -> dict[str, int]:
    """The fields that were set of a connection's row; nothing without one."""
    out: Any = ffi.new("struct tg_wishes *")
    if lib.tgb_map_get(datapath.wishes_fd, records.flow_key(key), out) < 0:
        return {}
    return {name: getattr(out, name) for name, bit in WISH_BITS.items() if out.set & bit}


def dialled(pod: Pod, *before: tuple[int, int, int | bytes]) -> socket.socket:
    """A connected socket of the pod that was told something before."""

    def inside() -> socket.socket:
        sock = socket.socket()
        for option in before:
            sock.setsockopt(*option)
        sock.connect((VIP, PORT))
        return sock

    return pod.run(inside)


def key_of(pod: Pod, sock: socket.socket) -> FlowKey:
    return pod.flow_key(Tier.FASTPATH, 4, ("127.0.0.1", sock.getsockname()[1]), (VIP, PORT))


@pytest.mark.case("B6")
@pytest.mark.parametrize("before", [8, 0, 3], ids=["before connect", "after connect", "some each"])
def test_options_are_written_down(datapath: Datapath, pod: Pod, before: int) -> None:
    sock = dialled(pod, *WISHES[:before])
    for option in WISHES[before:]:
        sock.setsockopt(*option)
    assert told(datapath, key_of(pod, sock)) == ALL
    for level, name, value in WISHES:
        assert sock.getsockopt(level, name) == value, "the application's own socket has it too"


@pytest.mark.case("B6")
def test_what_the_kernel_refuses_and_what_is_meant_for_the_socket_only_is_not(datapath: Datapath, pod: Pod) -> None:
    sock = dialled(pod, (TCP, socket.TCP_KEEPCNT, 5))
    refused = [(TCP, socket.TCP_KEEPIDLE, 0), (TCP, socket.TCP_KEEPCNT, 128), (TCP, TCP_SYNCNT, 0)]
    refused += [(TCP, socket.TCP_MAXSEG, 87), (TCP, socket.TCP_MAXSEG, 32768), (socket.IPPROTO_IP, socket.IP_TTL, 0)]
    for option in refused:
        with pytest.raises(OSError, match="Invalid argument"):
            sock.setsockopt(*option)
    sock.setsockopt(TCP, socket.TCP_NODELAY, 1)
    assert told(datapath, key_of(pod, sock)) == {"probes": 5}


@pytest.mark.case("B6")
@pytest.mark.parametrize(
    ("option", "wish"),
    [
        ((socket.IPPROTO_IP, socket.IP_TOS, b"\x10"), {"tos": 0x10}),
        ((socket.IPPROTO_IP, socket.IP_TTL, b"\x09"), {"hops": 9}),
        ((socket.IPPROTO_IP, socket.IP_TTL, -1), {"hops": 0}),
        ((TCP, socket.TCP_MAXSEG, 900), {"max_segment": 900}),
        ((TCP, socket.TCP_MAXSEG, 0), {"max_segment": 0}),
    ],
    ids=["class in one byte", "hops in one byte", "the system's hops", "segment", "the system's segment"],
)
def test_options_in_every_form_that_the_kernel_takes(
    datapath: Datapath, pod: Pod, option: tuple[int, int, int | bytes], wish: dict[str, int]
) -> None:
    assert told(datapath, key_of(pod, dialled(pod, option))) == wish


@pytest.mark.case("B6")
def test_an_option_of_tcp_in_one_byte_is_refused_as_always(datapath: Datapath, pod: Pod) -> None:
    sock = dialled(pod, (TCP, socket.TCP_KEEPCNT, 5))
    with pytest.raises(OSError, match="Invalid argument"):
        sock.setsockopt(TCP, socket.TCP_KEEPCNT, b"\7")
    assert told(datapath, key_of(pod, sock)) == {"probes": 5}


@pytest.mark.case("B6")
def test_a_connection_that_ended_leaves_no_wishes(datapath: Datapath, pod: Pod) -> None:
    sock = dialled(pod, *WISHES)
    key = key_of(pod, sock)
    server, _ = pod.accept(pod.listeners[Tier.FASTPATH, 4])
    sock.close()
    server.close()
    eventually(lambda: told(datapath, key) == {}, "no row is left")


@pytest.mark.case("B6")
def test_sockets_outside_the_mesh_are_not_watched(datapath: Datapath, make_pod: Callable[[], Pod]) -> None:
    """An option longer than a page still arrives as it was given (iptables sets such)."""
    stranger = make_pod()

    def inside() -> int:
        with socket.socket() as sock:
            for option in WISHES:
                sock.setsockopt(*option)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, b"\1\0\0\0" + bytes(8192))
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    assert stranger.run(inside) == 1
