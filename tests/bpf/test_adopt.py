"""Restart and upgrade: what is pinned works without any process, is taken over, exchanged, and removed completely."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.bpf.pod import OBJECTS, Pod, Tree, pinned_ids, remove_pins
from tests.support.eventually import eventually

from tidegate.bpf.attach import Attached
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.pins import claim, names
from tidegate.errors import Rejected
from tidegate.linux.cgroup import cgroup_id
from tidegate.model.plan.kernel import Destination, DestinationKey
from tidegate.model.tier import Tier

ROOT = Path(__file__).resolve().parents[2]
VIP, PORT = "10.96.0.10", 9080

# An agent that puts everything in place, says so and then waits to be killed.
LOADER = """
import sys, os, signal
from ipaddress import ip_address
from pathlib import Path
from tests.bpf.pod import OBJECTS, Tree
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier
tree = Tree(sys.argv[1])
datapath = tree.open_datapath(OBJECTS)
assert not datapath.adopted
datapath.set_destinations([Destination(ip_address("10.96.0.10"), 9080, Tier.FASTPATH, 7)])
datapath.attach_lookup(int(sys.argv[2]), os.open(sys.argv[3], os.O_RDONLY))
print("ready", flush=True)
signal.pause()
"""


def test_killed_loader_leaves_capture_working_and_is_adopted(
    tree: Tree, make_pod: Callable[[], Pod], open_datapath: Callable[[], Datapath]
) -> None:
    pod = make_pod()
    pod.listen()
    loader = subprocess.Popen(
        [sys.executable, "-c", LOADER, tree.name, str(pod.cookie), f"/run/netns/{pod.name}"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert loader.stdout is not None
    with loader.stdout:
        assert loader.stdout.readline() == b"ready\n"
    before = pinned_ids(tree)
    loader.send_signal(signal.SIGKILL)
    loader.wait()

    datapath = open_datapath()
    assert datapath.adopted
    assert set(datapath.hooks.values()) == {Attached.ADOPTED}
    assert pinned_ids(tree) == before, "not a single program, map or link was exchanged"
    assert datapath.lookups() == {pod.cookie}
    assert datapath.destinations() == {DestinationKey(ip_address(VIP), PORT): (Tier.FASTPATH, 7)}

    datapath.set_pod(pod.cookie, pod.row())
    client = pod.dial(VIP, PORT)
    assert client.peer == (VIP, PORT)
    datapath.close()
    # Nobody has anything open now; the pins alone keep capture going.
    assert pod.dial(VIP, PORT).peer == (VIP, PORT)
    again = open_datapath()
    assert again.pods() == {pod.cookie: pod.row()}
    assert again.flow_count() == 2
    assert again.counters()["redirect_fastpath"] == 2


def test_other_programs_are_exchanged_and_tables_kept(tree: Tree, pod: Pod, datapath: Datapath, tmp_path: Path) -> None:
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 7)])
    client = pod.dial(VIP, PORT)
    before = pinned_ids(tree)
    other = ("(out, TG_PASS_WORKLOAD)", "(out, TG_PASS_UNKNOWN)")
    upgraded = tree.open_datapath(build(tmp_path, {"bpf/core/connect_core.h": other}))
    try:
        assert upgraded.adopted
        changed = {name for name, how in upgraded.hooks.items() if how is Attached.UPDATED}
        assert changed == {"tg_connect4", "tg_connect6"}
        assert pinned_ids(tree)["links"] == before["links"], "the links stay, so there is no moment without a hook"
        assert pinned_ids(tree)["maps"] == before["maps"]
        assert upgraded.pods() == {pod.cookie: pod.row()}
        _, source = pod.accept(pod.listeners[Tier.FASTPATH, 4])
        assert upgraded.flow(pod.flow_key(Tier.FASTPATH, 4, source, (VIP, PORT))) is not None
        assert client.sock.getpeername() == (VIP, PORT)
        upgraded.set_destinations([Destination(ip_address(pod.ip4), 0, Tier.DIRECT, 0)])
        pod.dial(pod.ip4, 1)
        assert upgraded.counters()["pass_unknown"] == 1, "it is the new program that runs"
    finally:
        upgraded.close()


def test_start_that_was_killed_half_way_is_completed(open_datapath: Callable[[], Datapath], tree: Tree) -> None:
    first = open_datapath()
    first.close()
    (tree.pins / "links" / "tg_connect6").unlink()
    second = open_datapath()
    assert not second.adopted
    assert second.hooks["tg_connect6"] is Attached.CREATED
    assert second.hooks["tg_connect4"] is Attached.ADOPTED
    second.close()
    (tree.pins / "maps" / "tg_pods").unlink()
    third = open_datapath()
    assert not third.adopted
    updated = {name for name, how in third.hooks.items() if how is Attached.UPDATED}
    expected = {
        *("tg_connect4", "tg_connect6", "tg_setsockopt", "tg_served"),
        *("tg_sendmsg4", "tg_sendmsg6", "tg_getsockname4", "tg_getsockname6"),
    }
    assert updated == expected, "no hook may go on with the map that is lost"


def test_cgroup_that_was_made_anew(tree: Tree, open_datapath: Callable[[], Datapath]) -> None:
    """Same path, other cgroup: the old links are dead."""
    open_datapath().close()
    tree.envoy.rmdir()
    again = open_datapath()
    assert again.hooks["tg_getsockopt"] is again.hooks["tg_client4"] is Attached.CREATED
    assert again.hooks["tg_connect4"] is Attached.ADOPTED


@pytest.mark.parametrize("envoy_below_agent", [True, False])
def test_agent_and_envoy_may_live_outside_of_the_pods_cgroup(tree: Tree, envoy_below_agent: bool) -> None:
    """As on a node: pods in kubepods.slice, the agent in system.slice."""
    inside = {"tg_sockops": tree.pods, "tg_sockops_agent": tree.agent}
    envoy = tree.envoy if envoy_below_agent else tree.outside
    expected = inside if envoy_below_agent else {**inside, "tg_sockops_envoy": envoy}
    datapath = Datapath.open(
        bpffs=tree.pins, cgroup=tree.pods, agent_cgroup=tree.agent, envoy_cgroup=envoy, objects=OBJECTS
    )
    try:
        assert {name for name in datapath.hooks if "sockops" in name} == expected.keys()
        found = {a.pin: (a.kind, a.target) for a in datapath.attachments() if "sockops" in a.pin}
        assert found == {f"links/{name}": ("cgroup", cgroup_id(path)) for name, path in expected.items()}
    finally:
        datapath.close()
        remove_pins(tree.pins)


def test_one_process_at_a_time_owns_the_pins(tree: Tree) -> None:
    script = "import sys; from pathlib import Path; from tidegate.bpf.pins import claim; claim(Path(sys.argv[1]))"
    script += "; print('mine', flush=True); sys.stdin.read()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tree.pins)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    with owner.stdout, owner.stdin:
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(Rejected, match=f"{tree.pins}.*another agent"):
            claim(tree.pins)
        owner.kill()
        owner.wait()
    os.close(claim(tree.pins))
    tree.pins.rmdir()


def test_pins_of_unknown_hooks_go(tree: Tree, open_datapath: Callable[[], Datapath]) -> None:
    open_datapath().close()
    (tree.pins / "links" / "tg_connect4").rename(tree.pins / "links" / "tg_old")
    again = open_datapath()
    assert "tg_old" not in names(tree.pins / "links")
    assert again.hooks["tg_connect4"] is Attached.CREATED


def test_guard_of_a_netns_that_is_gone_is_dropped(
    open_datapath: Callable[[], Datapath], make_pod: Callable[[], Pod], tree: Tree
) -> None:
    first = open_datapath()
    passing = Pod(tree, f"{tree.name}-passing", 99)
    first.attach_lookup(passing.cookie, passing.netns_fd)
    staying = make_pod()
    first.attach_lookup(staying.cookie, staying.netns_fd)
    first.close()
    passing.remove()

    def swept() -> bool:
        again = open_datapath()
        known = again.lookups()
        again.close()
        return known == {staying.cookie}

    eventually(swept, "only the living netns is guarded")


def test_removing_the_pins_leaves_nothing(tree: Tree, pod: Pod, datapath: Datapath) -> None:
    """`rm -r`, as deploy/README.md says."""
    datapath.set_destinations([Destination(ip_address(VIP), PORT, Tier.FASTPATH, 7)])
    pod.dial(VIP, PORT)
    ours = pinned_ids(tree)
    assert ours["links"] <= listed("link")
    assert ours["programs"] <= listed("prog")
    assert ours["maps"] <= listed("map")
    datapath.close()
    shutil.rmtree(tree.pins)
    # Links, programs and maps are freed after a grace period.
    eventually(lambda: not ours["links"] & listed("link"), "no link is left")
    eventually(lambda: not ours["programs"] & listed("prog"), "no program is left")
    eventually(lambda: not ours["maps"] & listed("map"), "no map is left")
    assert pod.dial("127.77.0.1", pod.port(Tier.FASTPATH)).failed == "", "no hook runs any more"


def listed(what: str) -> set[int]:
    out = subprocess.run(["bpftool", "-j", what, "list"], check=True, capture_output=True, text=True).stdout
    rows: list[dict[str, Any]] = json.loads(out)
    return {row["id"] for row in rows}


def build(directory: Path, changes: dict[str, tuple[str, str]]) -> Path:
    """Objects compiled from our sources with some text replaced."""
    shutil.copytree(ROOT / "bpf", directory / "bpf")
    for name, (old, new) in changes.items():
        path = directory / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    subprocess.run(["make", "-s", "-f", "bpf/build.mk", "bpf-objects", "BUILD=build"], cwd=directory, check=True)
    return directory / "build" / "bpf"
