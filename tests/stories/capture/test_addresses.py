"""Who sees which address, over every kind of socket and destination that an application may use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import PROBE, Lab

FAMILIES = ["4", "mapped", "6", "v6only"]
STRANGERS_PORT = "7009"
PASSED = ("redirect_fastpath", "redirect_envoy", "pass_workload", "pass_unknown")


@pytest.mark.parametrize("family", FAMILIES)
def test_service_vip_is_relayed_and_nobody_notices(probe_lab: Lab, family: str) -> None:
    before = probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath")
    seen = probe_lab.dial("client", "talk", 7000, family)
    own = probe_lab.address("default/client", family)
    assert seen["server"]["client"] == own, "the server sees the client pod"
    assert seen["server"]["local"] == probe_lab.address("default/server", family), "an endpoint got it"
    assert seen["server"]["port"] == 7001
    assert seen["sock"] == own, "getsockname is the pod's address"
    assert seen["peer_port"] == 7000
    assert seen["dialled"] != seen["server"]["local"], "the name stands for the VIP"
    assert seen["peer"] == seen["dialled"], "getpeername is the VIP that was dialled"
    assert probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath") == before + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_headless_name_and_pod_address_go_straight(probe_lab: Lab, family: str) -> None:
    address = probe_lab.address("default/server", family)
    before = probe_lab.metric("tidegate_verdicts_total", reason="pass_workload")
    for host in ("talk-headless", address):
        seen = probe_lab.dial("client", host, 7001, family)
        assert seen["peer"] == address
        assert seen["sock"] == seen["server"]["client"] == probe_lab.address("default/client", family)
    assert probe_lab.metric("tidegate_verdicts_total", reason="pass_workload") == before + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_reaches_itself_through_its_own_vip(probe_lab: Lab, family: str) -> None:
    seen = probe_lab.dial("server", "talk", 7000, family)
    own = probe_lab.address("default/server", family)
    assert seen["server"]["client"] == seen["server"]["local"] == seen["sock"] == own


@pytest.fixture(scope="module")
def stranger(probe_lab: Lab) -> Iterator[dict[str, str]]:
    """Addresses, by family, of a server that is no pod: one that runs on the node itself."""
    node = ["lab", "node-exec", "node1", "--"]
    links = json.loads(probe_lab.tidegate(*node, "ip", "-j", "addr", "show").stdout)
    found = {a["family"]: a["local"] for link in links for a in link["addr_info"] if a["scope"] == "global"}
    with probe_lab.start_on_node("node1", "/usr/bin/python3", PROBE, "serve", STRANGERS_PORT) as server:
        listening: list[str | Path] = [*node, "/usr/bin/python3", PROBE, "dial", "127.0.0.1", STRANGERS_PORT]
        eventually(lambda: "error" not in json.loads(probe_lab.tidegate(*listening).stdout), "it listens")
        yield {"4": found["inet"], "mapped": found["inet"], "6": found["inet6"], "v6only": found["inet6"]}
        server.terminate()


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_address_passes_untouched(probe_lab: Lab, stranger: dict[str, str], family: str) -> None:
    before = {reason: probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in PASSED}
    seen = probe_lab.dial("client", stranger[family], int(STRANGERS_PORT), family)
    assert seen["peer"] == stranger[family]
    assert seen["sock"] == seen["server"]["client"] == probe_lab.address("default/client", family)
    after = {reason: probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in PASSED}
    assert after == {**before, "pass_unknown": before["pass_unknown"] + 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_outside_of_the_mesh_is_reached_directly(probe_lab: Lab, family: str) -> None:
    outsider = probe_lab.address("plain/outsider", family)
    before = probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath")
    seen = probe_lab.dial("client", outsider, 7001, family)
    assert seen["peer"] == outsider
    assert seen["server"]["client"] == probe_lab.address("default/client", family)
    assert probe_lab.metric("tidegate_verdicts_total", reason="redirect_fastpath") == before


@pytest.mark.parametrize("name", ["talk", "talk.default", "talk.default.svc", "talk.default.svc.cluster.local"])
def test_every_form_of_a_service_name_resolves(probe_lab: Lab, name: str) -> None:
    assert probe_lab.dial("client", name, 7000)["server"]["port"] == 7001


def test_an_application_that_lists_its_addresses_finds_none_of_ours(probe_lab: Lab) -> None:
    """Programs that announce "the first global address that I have" must not announce a capture address."""
    links = json.loads(probe_lab.exec("client", "ip", "-j", "addr", "show", "scope", "global").stdout)
    found = {address["local"] for link in links for address in link["addr_info"] if "local" in address}
    assert found == set(probe_lab.pods()["default/client"]["ips"])


CAPTURE = [
    ("127.77.0.1", "4"),
    ("127.77.0.2", "4"),
    ("127.77.0.1", "mapped"),
    ("fd74:6964:6567:6174::1", "6"),
    ("fd74:6964:6567:6174::2", "v6only"),
]


@pytest.mark.parametrize(("host", "family"), CAPTURE)
def test_a_capture_address_cannot_be_dialled(probe_lab: Lab, host: str, family: str) -> None:
    """The connect hook itself refuses; that sk_lookup would reset the connection as well is another line of defence."""
    reasons = ("deny_capture_address", "lookup_deny_unrecorded")
    before = [probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in reasons]
    seen = probe_lab.probe("client", "dial", host, "15001", "--family", family)
    assert seen.get("error") in ("ConnectionRefusedError", "PermissionError")
    after = [probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in reasons]
    assert after == [before[0] + 1, before[1]]


@pytest.mark.parametrize(
    ("address", "row"), [("127.77.0.1", "fastpath4"), ("127.77.0.2", "envoy4"), ("fd74:6964:6567:6174::1", "fastpath6")]
)
def test_who_slips_past_the_connect_hook_is_reset_at_a_capture_address(probe_lab: Lab, address: str, row: str) -> None:
    """A process of the machine that enters the pod's netns only: no hook on its cgroup sees it connect."""
    told = json.loads(probe_lab.tidegate("pods", "-o", "json", "--run-dir", probe_lab.node_dirs()[0]).stdout)
    port = next(pod[row] for pod in told if pod["name"] == "client")
    before = probe_lab.metric("tidegate_verdicts_total", reason="lookup_deny_unrecorded")
    netns = probe_lab.pods()["default/client"]["netns"]
    family = "6" if ":" in address else "4"
    done = subprocess.run(
        ["nsenter", f"--net={netns}", "/usr/bin/python3", PROBE, "dial", address, str(port), "--family", family],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout).get("error") in ("ConnectionRefusedError", "ConnectionResetError")
    assert probe_lab.metric("tidegate_verdicts_total", reason="lookup_deny_unrecorded") > before


@pytest.mark.parametrize(("pod", "namespace"), [("opted-out", "default"), ("outsider", "plain")])
def test_pods_without_the_mesh_are_untouched(probe_lab: Lab, pod: str, namespace: str) -> None:
    before = {
        reason: probe_lab.metric("tidegate_verdicts_total", reason=reason)
        for reason in ("redirect_fastpath", "redirect_envoy", "pass_workload", "pass_unknown")
    }
    server = probe_lab.address("default/server", "4")
    seen = probe_lab.dial(pod, server, 7001, namespace=namespace)
    assert seen["peer"] == server
    assert seen["sock"] == probe_lab.address(f"{namespace}/{pod}", "4")
    assert before == {reason: probe_lab.metric("tidegate_verdicts_total", reason=reason) for reason in before}
    assert not probe_lab.pods()[f"{namespace}/{pod}"]["enrolled"]


def test_localhost_of_a_pod_is_its_own(probe_lab: Lab) -> None:
    for host, family in (("127.0.0.1", "4"), ("::1", "v6only"), ("127.0.0.1", "mapped")):
        seen = probe_lab.dial("server", host, 7001, family)
        assert seen["peer"] == seen["sock"] == seen["server"]["client"] == host
