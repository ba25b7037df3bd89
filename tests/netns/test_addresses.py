"""Who sees which address, over every kind of socket and destination that an application may use."""

from __future__ import annotations

import pytest
from tests.support.lab import Lab

FAMILIES = ["4", "mapped", "6", "v6only"]


@pytest.mark.parametrize("family", FAMILIES)
def test_service_vip_is_relayed_and_nobody_notices(probe_lab: Lab, family: str) -> None:
    before = probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath")
    seen = probe_lab.probe("client", "dial", "talk", "7000", "--family", family)
    assert "error" not in seen
    own = probe_lab.address("default/client", family)
    assert seen["server"]["client"] == own, "the server sees the client pod"
    assert seen["server"]["local"] == probe_lab.address("default/server", family), "an endpoint got it"
    assert seen["server"]["port"] == 7001
    assert seen["sock"] == own, "getsockname is the pod's address"
    assert seen["peer_port"] == 7000
    assert seen["peer"] not in (seen["server"]["local"], "127.77.0.1"), "getpeername is the VIP that was dialled"
    assert probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath") == before + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_headless_name_and_pod_address_go_straight(probe_lab: Lab, family: str) -> None:
    address = probe_lab.address("default/server", family)
    before = probe_lab.metric("tidegate_verdicts_total", reason="pass_workload")
    for host in ("talk-headless", address):
        seen = probe_lab.probe("client", "dial", host, "7001", "--family", family)
        assert seen["peer"] == address
        assert seen["sock"] == seen["server"]["client"] == probe_lab.address("default/client", family)
    assert probe_lab.metric("tidegate_verdicts_total", reason="pass_workload") == before + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_reaches_itself_through_its_own_vip(probe_lab: Lab, family: str) -> None:
    seen = probe_lab.probe("server", "dial", "talk", "7000", "--family", family)
    own = probe_lab.address("default/server", family)
    assert seen["server"]["client"] == seen["server"]["local"] == seen["sock"] == own


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_address_passes_untouched(probe_lab: Lab, family: str) -> None:
    outsider = probe_lab.address("plain/outsider", family)
    before = probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath")
    seen = probe_lab.probe("client", "dial", outsider, "7001", "--family", family)
    assert seen["peer"] == outsider
    assert seen["server"]["client"] == probe_lab.address("default/client", family)
    assert probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath") == before


@pytest.mark.parametrize("name", ["talk", "talk.default", "talk.default.svc", "talk.default.svc.cluster.local"])
def test_every_form_of_a_service_name_resolves(probe_lab: Lab, name: str) -> None:
    assert probe_lab.probe("client", "dial", name, "7000")["server"]["port"] == 7001


CAPTURE = [
    ("127.77.0.1", "4"),
    ("127.77.0.2", "4"),
    ("127.77.0.1", "mapped"),
    ("fd74:6964:6567:6174::1", "6"),
    ("fd74:6964:6567:6174::2", "v6only"),
]


@pytest.mark.parametrize(("host", "family"), CAPTURE)
def test_a_capture_address_cannot_be_dialled(probe_lab: Lab, host: str, family: str) -> None:
    before = probe_lab.metric("tidegate_verdicts_total", reason="deny_capture_address")
    seen = probe_lab.probe("client", "dial", host, "15001", "--family", family)
    assert seen["error"] in ("ConnectionRefusedError", "PermissionError")
    assert probe_lab.metric("tidegate_verdicts_total", reason="deny_capture_address") == before + 1


@pytest.mark.parametrize(("pod", "namespace"), [("opted-out", "default"), ("outsider", "plain")])
def test_pods_without_the_mesh_are_untouched(probe_lab: Lab, pod: str, namespace: str) -> None:
    before = {
        reason: probe_lab.metric("tidegate_verdicts_total", reason=reason)
        for reason in ("redirect_fastpath", "redirect_envoy", "pass_workload", "pass_unknown")
    }
    server = probe_lab.address("default/server", "4")
    seen = probe_lab.probe(pod, "dial", server, "7001", namespace=namespace)
    assert seen["peer"] == server
    assert seen["sock"] == probe_lab.address(f"{namespace}/{pod}", "4")
    assert before == {reason: probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in before}
    assert not probe_lab.pods()[f"{namespace}/{pod}"]["enrolled"]


def test_localhost_of_a_pod_is_its_own(probe_lab: Lab) -> None:
    for host, family in (("127.0.0.1", "4"), ("::1", "v6only"), ("127.0.0.1", "mapped")):
        seen = probe_lab.probe("server", "dial", host, "7001", "--family", family)
        assert seen["peer"] == seen["sock"] == seen["server"]["client"] == host
