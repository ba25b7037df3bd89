"""sk_lookup: a connection to a capture address that no hook recorded is reset, everything else goes its way."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.bpf.pod import Pod

from tidegate.bpf.datapath import Datapath
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier

VIP, PORT = "10.96.0.10", 9080


@pytest.mark.parametrize("tier", [Tier.FASTPATH, Tier.ENVOY])
@pytest.mark.parametrize("version", [4, 6])
def test_unrecorded_connection_is_reset(datapath: Datapath, pod: Pod, tier: Tier, version: int) -> None:
    """A process that is in the pod's netns but in no cgroup of the node, as nsenter gives it: no connect hook runs."""
    address, port = pod.listeners[tier, version].getsockname()[:2]
    assert pod.dial(address, port, cgroup=pod.tree.outside).failed == "ECONNREFUSED"
    assert datapath.counters()["lookup_deny_unrecorded"] == 1
    assert datapath.counters()["deny_capture_address"] == 0, "it was not the connect hook that refused"

    datapath.detach_lookup(pod.cookie)
    assert not pod.dial(address, port, cgroup=pod.tree.outside).failed, "without the guard it would get there"


def test_recorded_connection_passes_and_is_counted(datapath: Datapath, pod: Pod) -> None:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 1)])
    assert not pod.dial(VIP, PORT).failed
    assert datapath.counters()["lookup_captured"] >= 1
    assert datapath.counters()["lookup_deny_unrecorded"] == 0


def test_other_addresses_are_none_of_its_business(datapath: Datapath, pod: Pod) -> None:
    for address in (pod.ip4, pod.ip6, "127.0.0.1", "::1", "127.78.0.1"):
        server = pod.server(address)
        assert not pod.dial(address, server.getsockname()[1], cgroup=pod.tree.outside).failed
    assert datapath.counters()["lookup_captured"] == datapath.counters()["lookup_deny_unrecorded"] == 0


def test_records_of_another_pod_do_not_count(datapath: Datapath, pod: Pod, make_pod: Callable[[], Pod]) -> None:
    """Two pods have the same loopback addresses and may have the same ports; only the netns tells them apart."""
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 1)])
    client = pod.dial(VIP, PORT)
    other = make_pod()
    datapath.attach_lookup(other.cookie, other.netns_fd)
    port = pod.port(Tier.FASTPATH)
    other.server("127.77.0.1", port, cgroup=pod.tree.agent)
    imitation = other.dial("127.77.0.1", port, bind_port=client.own[1], cgroup=pod.tree.outside)
    assert imitation.failed == "ECONNREFUSED"


def test_guard_twice_is_once_and_gone_when_told(datapath: Datapath, pod: Pod) -> None:
    datapath.attach_lookup(pod.cookie, pod.netns_fd)
    assert datapath.lookups() == {pod.cookie}
    datapath.detach_lookup(pod.cookie)
    datapath.detach_lookup(pod.cookie)
    assert datapath.lookups() == set()
