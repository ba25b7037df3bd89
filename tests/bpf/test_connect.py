"""connect(): what is captured reaches a listener inside the pod and nobody notices; the rest is left alone."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from tests.bpf.pod import Pod, accept
from tests.support.eventually import eventually

from tidegate.bpf.datapath import Datapath
from tidegate.model.snapshot import Tier

VIP4, VIP6, PORT = "10.96.0.10", "fd00:96::10", 9080
V6 = socket.AF_INET6


def offer(datapath: Datapath, tier: Tier, port: int = PORT) -> None:
    datapath.set_destination(ip_address(VIP4), port, tier, 7)
    datapath.set_destination(ip_address(VIP6), port, tier, 8)


@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
@pytest.mark.parametrize(
    ("vip", "how", "version"),
    [(VIP4, {}, 4), (VIP6, {}, 6), (f"::ffff:{VIP4}", {"family": V6}, 4), (VIP6, {"v6only": True}, 6)],
    ids=["v4", "v6", "v4-mapped", "v6only"],
)
def test_dial_reaches_the_listener_and_names_are_kept(
    datapath: Datapath, pod: Pod, tier: Tier, vip: str, how: dict[str, object], version: int
) -> None:
    offer(datapath, tier)
    client = pod.dial(vip, PORT, **how)
    assert not client.failed
    server, shown_client = accept(pod.listeners[tier, version])

    own = {4: pod.ip4, 6: pod.ip6}[version]
    source_port = client.own[1]
    assert client.peer == (vip, PORT)
    assert client.own[0] == (f"::ffff:{own}" if "family" in how else own)

    source = {4: "127.0.0.1", 6: str(pod.listeners[tier, 6].getsockname()[0])}[version]
    record = datapath.flow(pod.flow_key(tier, version, (source, source_port)))
    assert record is not None
    assert (record.destination, record.port) == (ip_address(vip.removeprefix("::ffff:")), PORT)
    assert record.client == ip_address(own)
    assert (record.tier, record.service) == (tier, 7 if version == 4 else 8)
    # Envoy is told the pod's address; the fast path needs the one that the kernel has, for its key.
    assert shown_client == (own if tier is Tier.ENVOY else source, source_port)

    client.sock.sendall(b"ping")
    assert server.recv(16) == b"ping"
    server.sendall(b"pong")
    assert client.sock.recv(16) == b"pong"

    client.close()
    server.close()
    eventually(lambda: datapath.flow_count() == 0, "the record goes with the connection")
