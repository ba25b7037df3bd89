"""One pod takes all that it gets, in every way at once: a neighbour's connections and requests, and the node, go on.

How much slower the neighbour is says `make bench` (fair.*). Here it is counted, not timed: what the neighbour gets
through the mesh beside what it gets past it meanwhile, and which threads of the relay were busy with that.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, ROOT, TIDEGATE, Lab

GREEDY, HELD, ROUNDS = (ROOT / "tests" / "support" / name for name in ("greedy.py", "held.py", "rounds.py"))
LATER = """
apiVersion: v1
kind: Pod
metadata: { name: later }
spec:
  nodeName: node1
  containers:
    - { name: later, image: bench, command: ["/bin/sleep", "infinity"] }
"""
POURED = 4  # GiB that the greedy pod moves while the neighbour is watched
# A round trip of the neighbour through the mesh costs so many past it at most: without greed some three, with it some
# hundred where messages wait for bulk.
SLOWER = 20
OPENED = 300  # connections that the neighbour makes meanwhile, each way
TIERS = {"http": "7010", "tcp": "7012"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab("greedy")
    lab.up(MANIFESTS / "greedy.yaml")
    yield lab
    lab.down()


def hears(process: subprocess.Popen[str], word: str, number: int = 0) -> int:
    """Read its standard error up to a line with this word, and a number of at least that, which is returned."""
    assert process.stderr is not None
    for line in process.stderr:
        said, _, count = line.strip().partition(" ")
        if said == word and int(count or 0) >= number:
            return int(count or 0)
    raise AssertionError(f"it ended before it said {word} {number}: {process.wait(HANG_SECONDS)}")


def start(lab: Lab, pod: str, *command: object) -> subprocess.Popen[str]:
    """A program in a pod that goes on until its standard input ends."""
    return subprocess.Popen(
        [str(word) for word in (TIDEGATE, "lab", "exec", pod, "--", "/usr/bin/python3", *command)],
        env=lab.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def relayed(lab: Lab) -> float:
    """Connections that the relay has."""
    text = lab.tidegate("metrics", "--run-dir", lab.node_dirs()[0]).stdout
    (line,) = (line for line in text.splitlines() if line.startswith("tidegate_fastpath_active_connections "))
    return float(line.split()[1])


@pytest.mark.case("B4")
@pytest.mark.case("B5")
@pytest.mark.case("E3")
def test_a_greedy_pod_leaves_its_neighbour_and_the_node_alone(lab: Lab) -> None:
    processes = {before["agent"]["pid"] for before in [lab.status()]}
    address = lab.status()["envoy"]["pid"]
    greedy = start(lab, "greedy", GREEDY, "server", "server")
    neighbours = {}
    try:
        hears(greedy, "all")
        for tier, port in TIERS.items():
            neighbours[tier] = start(lab, "neighbour", HELD, "server", port, "server:7010", "--held", 20, "--rate", 20)
        for neighbour in neighbours.values():
            hears(neighbour, "held", 20)
        lab.apply(LATER)  # returns when the pod is ready: a new pod is enrolled beside all that
        eventually(lambda: lab.pods()["default/later"]["enrolled"], "the lab has heard that it is enrolled")
        for neighbour in neighbours.values():
            hears(neighbour, "opened", OPENED)
        hears(greedy, "bulk", POURED)
        found = {tier: json.loads(neighbour.communicate("")[0]) for tier, neighbour in neighbours.items()}
        after = lab.status()
        took = json.loads(greedy.communicate("")[0])
    finally:
        for process in (greedy, *neighbours.values()):
            process.kill()
            process.wait()
    for tier, one in found.items():
        assert (one["failed"], one["held"], one["right"]) == ([], 20, 20), tier
    assert after["healthy"], after
    assert ({after["agent"]["pid"]}, after["envoy"]["pid"]) == (processes, address), "nothing of the node's own died"
    assert took["down"] == 300, took
    eventually(lambda: relayed(lab) <= took["half_closed"], "nothing stays but what a server keeps open")


def spent(pid: int) -> dict[str, float]:
    """Seconds of processor that a process's threads have used, by their names."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


@pytest.mark.case("B5")
def test_a_neighbours_messages_do_not_wait_for_what_a_greedy_pod_pours(lab: Lab) -> None:
    relay = lab.status()["relay"]["pid"]
    ways = {"through the mesh": "server", "past it": lab.pods()["default/server"]["ips"][0]}
    greedy = start(lab, "greedy", GREEDY, "server", "server")
    asking: dict[str, subprocess.Popen[str]] = {}
    try:
        hears(greedy, "all")
        for way, host in ways.items():
            asking[way] = start(lab, "neighbour", ROUNDS, host, "7001")
        for one in asking.values():
            hears(one, "asks")
        before = spent(relay)
        hears(greedy, "bulk", hears(greedy, "bulk") + POURED)
        after = spent(relay)
        answers = {way: int(one.communicate("")[0]) for way, one in asking.items()}
        greedy.communicate("")
    finally:
        for process in (greedy, *asking.values()):
            process.kill()
            process.wait()
    assert answers["past it"] <= SLOWER * answers["through the mesh"], answers
    served, carried = (after[name] - before[name] for name in ("tg-fastpath", "tg-carrier"))
    assert carried > served, "who pours is carried by threads that pass on nobody's messages"
