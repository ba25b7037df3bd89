"""An agent with tables of another layout: no connection of a captured pod leaves uncaptured, before, while or after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.bpf import next_version
from tests.bpf.load import Load
from tests.bpf.pod import OBJECTS, Pod, Tree, pinned_ids

from tidegate.bpf.attach import Attached
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.pins import names
from tidegate.errors import Fatal
from tidegate.model.plan.kernel import Destination, DestinationKey
from tidegate.model.tier import Tier
from tidegate.native import ffi, lib

ROOT = Path(__file__).resolve().parents[2]
DESTINATIONS = {Tier.FASTPATH: ("10.96.0.10", 9080), Tier.ENVOY: ("10.96.0.11", 80)}
ROWS = [Destination(ip_address(vip), port, tier, 7) for tier, (vip, port) in DESTINATIONS.items()]
ROWS += [Destination(ip_address("fd00:96::10"), 443, Tier.FASTPATH, 2**32 - 1)]
KILLED = 9
NEXT = next_version.VERSION

# Another agent. Before each exchange of a program it says so and waits for a word: "go", or what is to go wrong.
AGENT = """
import json, os, sys
from pathlib import Path
from tests.bpf.pod import Tree
from tidegate.bpf import attach, migrations, upgrade
from tidegate.errors import Fatal

class Stepwise:
    def __getattr__(self, name):
        return getattr(attach_lib, name)

    def tgb_link_update(self, link, program):
        print("step", flush=True)
        word = sys.stdin.readline().strip()
        if word == "die":
            os._exit(9)
        return -12 if word == "fail" else attach_lib.tgb_link_update(link, program)

attach_lib, attach.lib = attach.lib, Stepwise()
exec(sys.argv[3])
try:
    datapath = Tree(sys.argv[1]).open_datapath(Path(sys.argv[2]))
except Fatal as error:
    print(json.dumps({"refused": str(error)}), flush=True)
else:
    print(json.dumps({
        "adopted": datapath.adopted,
        "hooks": {name: how.value for name, how in datapath.hooks.items()},
        "lookups": sorted(datapath.lookups()),
        "pods": {cookie: repr(row) for cookie, row in datapath.pods().items()},
        "destinations": sorted(repr(item) for item in datapath.destinations().items()),
    }), flush=True)
"""


@pytest.fixture(scope="session")
def next_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next_version.build(tmp_path_factory.mktemp("next"))


class Other:
    """An agent of another build that opens the data path step by step."""

    def __init__(self, tree: Tree, build: Path, first: str = "") -> None:
        """first: Python to run before."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", AGENT, tree.name, str(build / "build" / "bpf"), first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{build / 'agent'}:{ROOT}"},
        )
        self.steps = 0

    def run(self, word: Callable[[int], str] = lambda _: "go") -> dict[str, Any]:
        """What it said at the end; {} if it died. word: what to tell it at each step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process:
            for line in self._process.stdout:
                if line != "step\n":
                    answer: dict[str, Any] = json.loads(line)
                    return answer
                self._process.stdin.write(word(self.steps) + "\n")
                self._process.stdin.flush()
                self.steps += 1
        assert self._process.returncode == KILLED
        return {}


@pytest.fixture
def captured(datapath: Datapath, pod: Pod) -> Datapath:
    datapath.set_destinations(ROWS)
    return datapath


@contextmanager
def nothing_leaves(pod: Pod, datapath: Datapath) -> Iterator[Load]:
    """Steady connections; each of them is captured, and its listener learns what was dialled."""
    load = Load(pod, datapath, DESTINATIONS)
    before = datapath.counters()
    with load.running():
        load.more()
        yield load
        load.more()
    assert load.failures() == {}
    assert load.seen_by_listeners.keys() == {"right"}
    counted = {reason: n - before[reason] for reason, n in datapath.counters().items() if n != before[reason]}
    assert counted.pop("redirect_fastpath") + counted.pop("redirect_envoy") == load.made
    # lookup_deny_unrecorded is not judged: a last packet of a connection that both ends forgot is counted there, too.
    assert not [reason for reason in counted if reason.startswith(("pass", "deny"))], counted


def expected(pods: list[Pod]) -> dict[str, Any]:
    return {
        "pods": {str(pod.cookie): repr(pod.row()) for pod in pods},
        "destinations": sorted(repr((row.key, (row.tier, row.service))) for row in ROWS),
        "lookups": sorted(pod.cookie for pod in pods),
    }


def test_no_connection_leaves_uncaptured_while_layouts_change(
    tree: Tree, pod: Pod, make_pod: Callable[[], Pod], captured: Datapath, next_build: Path
) -> None:
    second = make_pod()
    second.listen()
    captured.attach_lookup(second.cookie, second.netns_fd)
    captured.set_pod(second.cookie, second.row())
    fast, http = (second.dial(*DESTINATIONS[tier]) for tier in (Tier.FASTPATH, Tier.ENVOY))
    before = pinned_ids(tree)
    with nothing_leaves(pod, captured) as load:

        def step(_number: int) -> str:
            load.more()
            return "go"

        other = Other(tree, next_build)
        said = other.run(step)
    assert other.steps == len(said["hooks"]) + 2, "every hook and both guards, with connections in between"
    assert {name: said[name] for name in ("pods", "destinations", "lookups")} == expected([pod, second])
    assert set(said["hooks"].values()) == {"updated"}
    after = pinned_ids(tree)
    assert after["links"] == before["links"]
    kept = {
        *("tg_flows", "tg_socks", "tg_ends", "tg_listeners", "tg_wishes", "tg_wanted", "tg_counters"),
        *("tg_dns", "tg_resolvers", "tg_dns_sockets"),
        *("tg_inbound", "tg_inbound_listeners"),  # the agent's, and laid out as before
        *("tg_guards", "tg_guarded", "tg_callers", "tg_called"),
    }
    assert len(after["maps"] & before["maps"]) == len(kept), "what connections write stays"
    assert names(tree.pins) == ["links", "lookup", "maps"]

    # Connections of before: the application's view, and a listener that accepts only now.
    for client, tier in ((fast, Tier.FASTPATH), (http, Tier.ENVOY)):
        assert client.sock.getpeername() == DESTINATIONS[tier]
        assert client.sock.getsockname()[0] == second.ip4
    server, shown = second.accept(second.listeners[Tier.ENVOY, 4])
    assert shown[0] == second.ip4
    assert server.getsockopt(0, 80, 16)[2:8] == (80).to_bytes(2, "big") + ip_address("10.96.0.11").packed
    _, source = second.accept(second.listeners[Tier.FASTPATH, 4])
    record = captured.flow(second.flow_key(Tier.FASTPATH, 4, source, DESTINATIONS[Tier.FASTPATH]))
    assert record is not None
    assert (str(record.destination), record.port) == DESTINATIONS[Tier.FASTPATH]


@pytest.mark.parametrize("at", [0, 4, 10], ids=["first", "middle", "last"])
def test_what_fails_half_way_is_undone(tree: Tree, pod: Pod, captured: Datapath, next_build: Path, at: int) -> None:
    before = pinned_ids(tree)
    with nothing_leaves(pod, captured):
        said = Other(tree, next_build).run(lambda step: "fail" if step == at else "go")
    assert "Cannot allocate memory" in said["refused"]
    assert pinned_ids(tree) == before, "the same programs run again, with the same maps"
    assert names(tree.pins) == ["links", "lookup", "maps"]
    again = tree.open_datapath(OBJECTS)
    assert again.adopted
    assert set(again.hooks.values()) == {Attached.ADOPTED}
    again.close()


@pytest.mark.parametrize("at", [0, 4, 10], ids=["first", "middle", "last"])
@pytest.mark.parametrize("who", ["the new agent", "the old agent"])
def test_who_is_killed_half_way_leaves_capture_working(
    tree: Tree, pod: Pod, captured: Datapath, next_build: Path, at: int, who: str
) -> None:
    with nothing_leaves(pod, captured) as load:
        assert Other(tree, next_build).run(lambda step: "die" if step == at else "go") == {}
        load.more()
        if who == "the new agent":
            said = Other(tree, next_build).run()
            assert {name: said[name] for name in ("pods", "destinations", "lookups")} == expected([pod])
        else:
            again = tree.open_datapath(OBJECTS)
            assert again.pods() == {pod.cookie: pod.row()}
            again.close()
    assert names(tree.pins) == ["links", "lookup", "maps"]


def test_killed_between_the_changes_of_names(tree: Tree, pod: Pod, captured: Datapath, next_build: Path) -> None:
    die = "import pathlib; rename = pathlib.Path.rename; count = []\n"
    die += "def twice(self, to):\n    count.append(to)\n    os._exit(9) if len(count) == 2 else rename(self, to)\n"
    die += "pathlib.Path.rename = twice"
    with nothing_leaves(pod, captured):
        assert Other(tree, next_build, die).run() == {}
        assert names(tree.pins) == ["links", "lookup", "next", "old"]
        said = Other(tree, next_build).run()
    assert said["adopted"]
    assert {name: said[name] for name in ("pods", "destinations", "lookups")} == expected([pod])
    assert names(tree.pins) == ["links", "lookup", "maps"]


def test_an_older_agent_leaves_newer_tables_alone(tree: Tree, pod: Pod, captured: Datapath, next_build: Path) -> None:
    Other(tree, next_build).run()
    before = pinned_ids(tree)
    said = rf"version {NEXT}: .*written by a newer agent.*goes on"
    with nothing_leaves(pod, captured), pytest.raises(Fatal, match=said):
        tree.open_datapath(OBJECTS)
    assert pinned_ids(tree) == before


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (f"del migrations.STEPS[{NEXT}]", f"no migration to version {NEXT} is known"),
        (f"migrations.STEPS[{NEXT}] = {{}}", "rows of tg_dests: no migration gives them 24 and 16 bytes"),
    ],
    ids=["unknown version", "forgotten table"],
)
def test_rows_without_a_migration_are_left_alone(
    tree: Tree, pod: Pod, captured: Datapath, next_build: Path, first: str, reason: str
) -> None:
    before = pinned_ids(tree)
    with nothing_leaves(pod, captured):
        said = Other(tree, next_build, first).run()
    assert reason in said["refused"]
    assert "goes on capturing" in said["refused"]
    assert pinned_ids(tree) == before
    assert names(tree.pins) == ["links", "lookup", "maps"]


def test_connection_state_is_not_rewritten(tree: Tree, pod: Pod, captured: Datapath, tmp_path: Path) -> None:
    """Hooks write it all the time: a copy would be old when it is done."""
    versions = {f"TG_ABI_VERSION = {NEXT - 1},": f"TG_ABI_VERSION = {NEXT},"}
    header = {**versions, "TG_MAX_FLOWS = 131072,": "TG_MAX_FLOWS = 65536,"}
    other = next_version.build(tmp_path, steps=f"\nSTEPS[{NEXT}] = {{}}\n", header=header)
    with nothing_leaves(pod, captured):
        said = Other(tree, other).run()
    assert "rows of tg_flows belong to connections that live" in said["refused"]


def test_a_table_that_is_too_small_is_refused(
    tree: Tree, pod: Pod, make_pod: Callable[[], Pod], captured: Datapath, tmp_path: Path
) -> None:
    second = make_pod()
    captured.set_pod(second.cookie, second.row())
    smaller = {"TG_MAX_PODS = 4096,": "TG_MAX_PODS = 1,"}
    other = next_version.build(tmp_path, steps="", header=smaller)
    with nothing_leaves(pod, captured):
        assert "rows of tg_pods: [Errno 7]" in Other(tree, other).run()["refused"]
    captured.delete_pod(second.cookie)
    with nothing_leaves(pod, captured):
        assert Other(tree, other).run()["pods"] == {str(pod.cookie): repr(pod.row())}


def test_rows_of_version_1_are_tcps(tree: Tree, pod: Pod, captured: Datapath) -> None:
    """What there was before destinations had a protocol: zero in its place."""
    fd = lib.tgb_get(str(tree.pins / "maps" / "tg_dests").encode())
    for row in ROWS:
        key, value = ffi.new("struct tg_dest_key *"), ffi.new("struct tg_dest *", {"tier": row.tier, "service": 7})
        key.addr.ip = row.address.packed if row.address.version == 6 else bytes(10) + b"\xff\xff" + row.address.packed
        key.port_be = int.from_bytes(row.port.to_bytes(2, "big"), sys.byteorder)
        assert lib.tgb_map_set(fd, key, value) == 0
    os.close(fd)
    captured.delete_destinations([row.key for row in ROWS])
    settings = captured.settings()
    settings.abi_version = 1
    captured.put_settings(settings)
    new = tree.open_datapath(OBJECTS)
    assert new.destinations() == {DestinationKey(row.address, row.port): (row.tier, 7) for row in ROWS}
    assert new.pods() == {pod.cookie: pod.row()}
    assert set(new.hooks.values()) == {Attached.UPDATED, Attached.ADOPTED}
    assert pod.dial(*DESTINATIONS[Tier.ENVOY]).peer == DESTINATIONS[Tier.ENVOY]
    new.close()


def test_settings_that_are_gone_are_not_guessed(tree: Tree, pod: Pod, captured: Datapath, next_build: Path) -> None:
    (tree.pins / "maps" / "tg_settings").unlink()
    said = Other(tree, next_build).run()
    assert "its settings are gone" in said["refused"]
    again = tree.open_datapath(OBJECTS)
    assert again.pods() == {pod.cookie: pod.row()}, "of the same layout they can be made anew"
    again.close()
    shutil.rmtree(tree.pins)
