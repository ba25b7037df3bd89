"""sockops: what a captured client may send to nobody is bounded as it is on a link, unless it chose a size itself."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.bpf.pod import Pod, connect

from tidegate.bpf.datapath import Datapath
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier

VIP, PORT = "10.96.0.10", 9080
WANTED = 1 << 20


def send_buffer(pod: Pod, address: str, port: int, chosen: int = 0) -> int:
    """SO_SNDBUF of a client that is connected, as the application sees it."""

    def dial() -> int:
        with connect(address, port, send_buffer=chosen).sock as sock:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    return pod.run(dial)


@pytest.mark.case("B4")
@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
def test_a_captured_client_keeps_a_mebibyte_for_a_server_that_does_not_read(
    datapath: Datapath, pod: Pod, tier: Tier
) -> None:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, tier, 1)])
    most = int(Path("/proc/sys/net/core/wmem_max").read_text())
    assert send_buffer(pod, VIP, PORT) == min(WANTED, 2 * most)


@pytest.mark.case("B4")
def test_a_size_that_the_application_chose_stays(datapath: Datapath, pod: Pod) -> None:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 1)])
    assert send_buffer(pod, VIP, PORT, chosen=40000) == 80000
