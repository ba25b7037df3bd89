"""connect(): what is captured reaches a listener inside the pod and nobody notices; the rest is left alone."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.bpf.pod import Dialled, Pod, ip
from tests.support.eventually import eventually

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.records import FlowGroup, PodRow
from tidegate.model.capture import CAPTURE4_FASTPATH, capture_address
from tidegate.model.plan.kernel import Destination, DestinationKey, L4Protocol
from tidegate.model.tier import Tier
from tidegate.native import lib

VIP4, VIP6, PORT = "10.96.0.10", "fd00:96::10", 9080
V6 = socket.AF_INET6


def offer(datapath: Datapath, tier: Tier, port: int = PORT) -> None:
    datapath.set_destinations([Destination(ip_address(VIP4), port, tier, 7)])
    datapath.set_destinations([Destination(ip_address(VIP6), port, tier, 8)])


def test_a_row_of_another_protocol_is_not_for_tcp(datapath: Datapath, pod: Pod) -> None:
    udp = [Destination(ip_address(VIP4), port, Tier.FASTPATH, 7, L4Protocol.UDP) for port in (PORT, 0)]
    datapath.set_destinations(udp)
    server = pod.server(pod.ip4)
    datapath.set_destinations([replace(row, address=ip_address(pod.ip4)) for row in udp])
    assert not pod.dial(*server.getsockname()).failed
    assert datapath.counters()["pass_unknown"] == 1
    pod.accept(server)


def net(text: str, port: int, tier: Tier, service: int, scope: int = 0) -> Destination:
    """The row of a range; ::/0 is every address of both families."""
    network = ip_network(text)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return Destination(network.network_address, port, tier, service, bits=bits, scope=scope)


@pytest.mark.parametrize(("vip", "version"), [(VIP4, 4), (VIP6, 6)])
def test_a_range_has_what_no_row_has_the_longest_prefix_first(
    datapath: Datapath, pod: Pod, vip: str, version: int
) -> None:
    own = "10.96.0.0/16" if version == 4 else "fd00:96::/64"
    datapath.set_destinations([net("::/0", PORT, Tier.FASTPATH, 1), net("::/0", PORT + 1, Tier.DIRECT, 2)])

    def led_to() -> int:
        client = pod.dial(vip, PORT)
        assert client.peer == (vip, PORT)
        (group,) = datapath.live_flows()
        pod.accept(pod.listeners[group.tier, version])[0].close()
        client.close()
        eventually(lambda: not datapath.live_flows(), "its record is gone")
        return group.service

    assert led_to() == 1
    datapath.set_destinations([net(own, PORT, Tier.ENVOY, 3)])
    assert led_to() == 3
    datapath.set_destinations([net(own, PORT, Tier.FASTPATH, 4, scope=9)])
    assert led_to() == 3, "this one is of other pods"
    datapath.set_destinations([Destination(ip_address(vip), PORT, Tier.FASTPATH, 5)])
    assert led_to() == 5, "an address that somebody has is his"
    datapath.delete_destinations(list(datapath.destinations()))
    assert pod.dial(vip, PORT).failed
    assert not datapath.live_flows()


def test_a_row_of_udp_does_not_touch_udp(datapath: Datapath, pod: Pod) -> None:
    """Today; what becomes of it once the hook looks at the protocol is a decision of its own."""
    datapath.set_destinations([Destination(ip_address(pod.ip4), PORT, Tier.FASTPATH, 7, L4Protocol.UDP)])

    def peer() -> tuple[str, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((pod.ip4, PORT))
            name: tuple[str, int] = sock.getpeername()
            return name

    assert pod.run(peer) == (pod.ip4, PORT)
    assert datapath.counters()["pass_not_tcp"] == 1


@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
@pytest.mark.parametrize(
    ("vip", "how", "version"),
    [(VIP4, {}, 4), (VIP6, {}, 6), (f"::ffff:{VIP4}", {"family": V6}, 4), (VIP6, {"v6only": True}, 6)],
    ids=["v4", "v6", "v4-mapped", "v6only"],
)
def test_dial_reaches_the_listener_and_names_are_kept(
    datapath: Datapath, pod: Pod, tier: Tier, vip: str, how: dict[str, Any], version: int
) -> None:
    offer(datapath, tier)
    client = pod.dial(vip, PORT, **how)
    assert not client.failed
    server, shown_client = pod.accept(pod.listeners[tier, version])

    own = {4: pod.ip4, 6: pod.ip6}[version]
    source_port = client.own[1]
    assert client.peer == (vip, PORT)
    assert client.own[0] == (f"::ffff:{own}" if "family" in how else own)

    source = {4: "127.0.0.1", 6: "::1"}[version]
    record = datapath.flow(pod.flow_key(tier, version, (source, source_port), (vip, PORT)))
    assert record is not None
    assert (record.destination, record.port) == (ip_address(vip.removeprefix("::ffff:")), PORT)
    assert record.client == ip_address(own)
    assert (record.tier, record.service) == (tier, 7 if version == 4 else 8)
    assert datapath.live_flows() == {FlowGroup(pod.cookie, tier, record.service): 1}
    # Envoy is told the pod's address; the fast path needs the one that the kernel has, for its key.
    assert shown_client == (own if tier is Tier.ENVOY else source, source_port)

    client.sock.sendall(b"ping")
    assert server.recv(16) == b"ping"
    server.sendall(b"pong")
    assert client.sock.recv(16) == b"pong"

    client.close()
    server.close()
    eventually(lambda: datapath.flow_count() == 0, "the record goes with the connection")


def counted(datapath: Datapath, reason: str) -> int:
    return datapath.counters()[reason]


def test_any_port_row_and_more_specific_row(datapath: Datapath, pod: Pod) -> None:
    datapath.set_destinations([Destination(ip_address(VIP4), 0, Tier.FASTPATH, 1)])
    datapath.set_destinations([Destination(ip_address(VIP4), 80, Tier.ENVOY, 2)])
    pod.dial(VIP4, 12345)
    pod.accept(pod.listeners[Tier.FASTPATH, 4])
    pod.dial(VIP4, 80)
    pod.accept(pod.listeners[Tier.ENVOY, 4])


def test_bound_address_is_the_clients_address_for_the_fast_path(datapath: Datapath, pod: Pod) -> None:
    offer(datapath, Tier.FASTPATH)
    ip("-n", pod.name, "address", "add", "10.77.0.200/24", "dev", "eth0")
    client = pod.dial(VIP4, PORT, bind="10.77.0.200")
    pod.accept(pod.listeners[Tier.FASTPATH, 4])
    assert client.own == ("10.77.0.200", client.own[1])
    record = datapath.flow(pod.flow_key(Tier.FASTPATH, 4, client.own, (VIP4, PORT)))
    assert record is not None
    assert record.client == ip_address("10.77.0.200")


def test_envoy_is_told_the_enrolled_address_whatever_was_bound(datapath: Datapath, pod: Pod) -> None:
    offer(datapath, Tier.ENVOY)
    own = pod.dial(VIP4, PORT)
    _, usual = pod.accept(pod.listeners[Tier.ENVOY, 4])
    assert usual == own.own
    ip("-n", pod.name, "address", "add", "10.77.0.200/24", "dev", "eth0")
    client = pod.dial(VIP4, PORT, bind="10.77.0.200")
    _, shown = pod.accept(pod.listeners[Tier.ENVOY, 4])
    assert client.own[0] == "10.77.0.200", "the application sees what it bound"
    assert shown == (usual[0], client.own[1])


def test_one_source_port_may_serve_two_tiers(datapath: Datapath, pod: Pod) -> None:
    datapath.set_destinations([Destination(ip_address(VIP4), 1, Tier.FASTPATH, 1)])
    datapath.set_destinations([Destination(ip_address(VIP4), 2, Tier.ENVOY, 2)])
    pod.run(lambda: narrow_ports(41000))
    first = pod.dial(VIP4, 1)
    second = pod.dial(VIP4, 2)
    assert (first.failed, second.failed) == ("", "")
    assert first.own[1] == second.own[1] == 41000
    for tier, port in ((Tier.FASTPATH, 1), (Tier.ENVOY, 2)):
        record = datapath.flow(pod.flow_key(tier, 4, ("127.0.0.1", 41000), (VIP4, port)))
        assert record is not None
        assert (record.tier, record.port) == (tier, port)


@pytest.mark.case("B9")
@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
@pytest.mark.parametrize("vips", [("10.96.0.10", "10.96.0.11"), ("fd00:96::10", "fd00:96::11")], ids=["v4", "v6"])
def test_sockets_bound_to_one_source_port_may_be_connected_to_several_services(
    datapath: Datapath, pod: Pod, tier: Tier, vips: tuple[str, str]
) -> None:
    version = 6 if ":" in vips[0] else 4
    places = [(vips[0], 9080), (vips[1], 9080), (vips[0], 9081)]
    datapath.set_destinations(Destination(ip_address(vip), port, tier, n) for n, (vip, port) in enumerate(places))
    own = "::" if version == 6 else "0.0.0.0"
    for number, (vip, port) in enumerate(places):
        client = pod.dial(vip, port, bind=own, bind_port=41007)
        assert not client.failed
        assert (client.peer, client.own[1]) == ((vip, port), 41007)
        server, _ = pod.accept(pod.listeners[tier, version])
        source = "::1" if version == 6 else "127.0.0.1"
        record = datapath.flow(pod.flow_key(tier, version, (source, 41007), (vip, port)))
        assert record is not None
        assert (str(record.destination), record.port, record.service) == (vip, port, number)
        client.sock.sendall(b"x")
        assert server.recv(1) == b"x"


@pytest.mark.case("B9")
def test_more_connections_than_a_pod_has_source_ports(datapath: Datapath, pod: Pod) -> None:
    """The bound is one of connections to a destination, as without a mesh."""
    datapath.set_destinations([Destination(ip_address(VIP4), port, Tier.FASTPATH, 1) for port in range(1, 9)])
    pod.run(lambda: narrow_ports(41000))
    assert [pod.dial(VIP4, port).failed for port in range(1, 9)] == [""] * 8
    assert pod.dial(VIP4, 1).failed == "EADDRNOTAVAIL"


@pytest.mark.case("B9")
def test_a_listener_that_sk_lookup_does_not_know_is_reached_at_its_own_address(
    datapath: Datapath, make_pod: Any
) -> None:
    """One that a version before opened: it listens already when the hook on listen() comes."""
    pod: Pod = make_pod()
    stranger = pod.server(str(CAPTURE4_FASTPATH), cgroup=pod.tree.outside)
    datapath.set_pod(pod.cookie, PodRow(ip4=ip_address(pod.ip4), fastpath4=stranger.getsockname()[1]))
    datapath.attach_lookup(pod.cookie, pod.netns_fd)
    datapath.set_destinations([Destination(ip_address(VIP4), PORT, Tier.FASTPATH, 1)])
    client = pod.dial(VIP4, PORT)
    assert client.peer == (VIP4, PORT)
    server, _ = pod.accept(stranger)
    assert server.getsockname()[0] == str(CAPTURE4_FASTPATH)


@pytest.mark.case("B9")
def test_an_application_cannot_stand_in_for_a_listener(datapath: Datapath, pod: Pod) -> None:
    datapath.set_destinations([Destination(ip_address(VIP4), PORT, Tier.FASTPATH, 1)])
    port, there = pod.port(Tier.FASTPATH), capture_address(Tier.FASTPATH, ip_address(VIP4), PORT)
    thief = pod.server(str(there), port)
    assert pod.dial(VIP4, PORT).peer == (VIP4, PORT)
    pod.accept(pod.listeners[Tier.FASTPATH, 4])
    thief.setblocking(False)
    with pytest.raises(BlockingIOError):
        thief.accept()


def narrow_ports(port: int) -> None:
    """Leave the netns of the calling process one source port. /proc/sys/net follows the reader's netns."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{port} {port}")


class TestLeftAlone:
    """A server of the pod at its own address, listed for the fast path: an untouched dial gets there."""

    @pytest.fixture(autouse=True)
    def _server(self, datapath: Datapath, pod: Pod) -> None:
        self.datapath, self.pod = datapath, pod
        self.server = pod.server(pod.ip4)
        self.at = self.server.getsockname()
        datapath.set_destinations([Destination(ip_address(self.at[0]), self.at[1], Tier.FASTPATH, 1)])

    def untouched(self, client: Dialled) -> None:
        assert not client.failed
        assert client.peer == self.at
        _, source = self.pod.accept(self.server)
        assert source == client.own
        assert self.datapath.flow_count() == 0

    def test_unenrolled_netns(self) -> None:
        self.datapath.delete_pod(self.pod.cookie)
        before = counted(self.datapath, "pass_not_enrolled")
        self.untouched(self.pod.dial(*self.at))
        assert counted(self.datapath, "pass_not_enrolled") == before + 1

    def test_agents_and_envoys_cgroups(self) -> None:
        for cgroup in (self.pod.tree.agent, self.pod.tree.envoy):
            self.untouched(self.pod.dial(*self.at, cgroup=cgroup))
        assert counted(self.datapath, "pass_exempt_cgroup") == 2

    def test_process_outside_of_the_nodes_cgroup(self) -> None:
        self.untouched(self.pod.dial(*self.at, cgroup=self.pod.tree.outside))

    def test_socket_bound_to_a_device(self) -> None:
        self.untouched(self.pod.dial(*self.at, device="eth0"))
        assert counted(self.datapath, "pass_bound_device") == 1

    def test_direct_tier(self) -> None:
        self.datapath.set_destinations([Destination(ip_address(self.at[0]), self.at[1], Tier.DIRECT, 0)])
        self.untouched(self.pod.dial(*self.at))
        assert counted(self.datapath, "pass_workload") == 1

    def test_unknown_destination(self) -> None:
        self.datapath.delete_destinations([DestinationKey(ip_address(self.at[0]), self.at[1])])
        self.untouched(self.pod.dial(*self.at))
        assert counted(self.datapath, "pass_unknown") == 1

    def test_tier_without_a_listener(self) -> None:
        self.datapath.set_pod(self.pod.cookie, replace(self.pod.row(), fastpath4=0))
        self.untouched(self.pod.dial(*self.at))
        assert counted(self.datapath, "pass_no_listener") == 1

    def test_enrolled_they_would_all_have_been_captured(self) -> None:
        assert self.pod.dial(*self.at).peer == self.at
        self.pod.accept(self.pod.listeners[Tier.FASTPATH, 4])
        assert counted(self.datapath, "redirect_fastpath") == 1


def test_localhost_of_the_pod_is_its_own(datapath: Datapath, pod: Pod) -> None:
    for address in ("127.0.0.1", "::1"):
        server = pod.server(address)
        port = server.getsockname()[1]
        datapath.set_destinations([Destination(ip_address(address), port, Tier.FASTPATH, 1)])
        client = pod.dial(address, port)
        assert (client.peer, client.own[0]) == ((address, port), address)
        pod.accept(server)
    assert counted(datapath, "pass_loopback") == 2


def test_udp_is_untouched(datapath: Datapath, pod: Pod) -> None:
    server = pod.run(lambda: udp_socket(pod.ip4))
    at = server.getsockname()
    datapath.set_destinations([Destination(ip_address(at[0]), at[1], Tier.FASTPATH, 1)])
    peer = pod.run(lambda: udp_exchange(at))
    assert peer == at
    assert server.recv(16) == b"hello"
    assert counted(datapath, "pass_not_tcp") == 1


def udp_socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    return sock


def udp_exchange(at: tuple[str, int]) -> tuple[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(at)
        sock.send(b"hello")
        peer: tuple[str, int] = sock.getpeername()
        return peer


def test_v6_without_capture_address_is_left_alone(datapath: Datapath, pod: Pod) -> None:
    offer(datapath, Tier.FASTPATH)
    datapath.set_pod(pod.cookie, pod.row(v6_capture=False))
    assert pod.dial(VIP6, PORT).failed == "ENETUNREACH"  # what the pod's routes say about it
    assert counted(datapath, "pass_no_v6_capture") == 1
    assert not pod.dial(VIP4, PORT).failed


@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
@pytest.mark.parametrize("version", [4, 6])
def test_dialling_a_capture_address_is_refused(datapath: Datapath, pod: Pod, tier: Tier, version: int) -> None:
    address, port = pod.listeners[tier, version].getsockname()[:2]
    refusal = "ECONNREFUSED" if lib.tgb_has_set_retval() else "EPERM"
    assert pod.dial(address, port).failed == refusal
    if version == 4:
        assert pod.dial(f"::ffff:{address}", port, family=V6).failed == refusal
    assert counted(datapath, "deny_capture_address") == (2 if version == 4 else 1)


@pytest.mark.parametrize("where", ["pod", "localhost"])
def test_socket_that_was_captured_and_connects_elsewhere(datapath: Datapath, pod: Pod, where: str) -> None:
    offer(datapath, Tier.FASTPATH)
    server = pod.server(pod.ip4 if where == "pod" else "127.0.0.1")
    at = server.getsockname()
    pod.listeners[Tier.FASTPATH, 4].close()
    failed, peer, own = pod.run(lambda: connect_twice((VIP4, PORT), at))
    assert failed == "ECONNREFUSED"
    _, source = pod.accept(server)
    assert (peer, own) == (at, source)
    assert datapath.flow_count() == 0, "the refused connection left no record"


def connect_twice(first: tuple[str, int], second: tuple[str, int]) -> tuple[str, Any, Any]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        failed = errno.errorcode.get(sock.connect_ex(first), "")
        sock.connect(second)
        return failed, sock.getpeername(), sock.getsockname()
