"""A pod with several interfaces: what a runtime adds to it and takes away again changes nothing for the others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import TIDEGATE, Lab

from tidegate.model.names import WorkloadId
from tidegate_lab.cni_runtime import Chain, PodNetwork
from tidegate_lab.node import plugin_directories

CLIENT = WorkloadId("default", "client")
# Says back what the server echoes, line by line, on one connection.
KEPT = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 7000), 180)
lines = sock.makefile()
sock.sendall(b"echo\\n")
for line in sys.stdin:
    sock.sendall(line.encode())
    print(lines.readline().strip(), flush=True)
"""


class Kept:
    """One connection of the client to the service, from before to after."""

    def __init__(self, lab: Lab) -> None:
        command: list[str | Path] = [
            TIDEGATE,
            "lab",
            "exec",
            "client",
            "--",
            "/usr/bin/python3",
            "-u",
            "-c",
            KEPT,
            "talk",
        ]
        self._process = subprocess.Popen(
            command, env=lab.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def says(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        return str(self._process.stdout.readline().strip())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def kept(probe_lab: Lab) -> Iterator[Kept]:
    made = Kept(probe_lab)
    yield made
    made.close()


def enrolled(lab: Lab) -> dict[str, Any]:
    return next(dict(pod) for pod in lab.status()["pods"] if pod["name"] == "client")


def row(lab: Lab) -> dict[str, Any]:
    """The client's row in the kernel's table."""
    listed = json.loads(lab.tidegate("pods", "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout)
    return next(dict(pod) for pod in listed if pod["name"] == "client")


@pytest.fixture
def storage(probe_lab: Lab, tmp_path: Path) -> Chain:
    """A second network on the pod's node, with our plugin in its chain, too."""
    ranges = [[{"subnet": "10.56.0.0/24"}], [{"subnet": "fd56::/64"}]]
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "ipam"), "ranges": ranges}
    bridge = {"type": "bridge", "bridge": "cni9", "ipam": ipam}
    ours = {"type": "tidegate", "agentSocket": str(probe_lab.node_dirs()[0] / "cni.sock")}
    node = probe_lab.pods()["default/client"]["node"]
    netns = Path(f"/run/netns/tgl-{probe_lab.name}-{node}")
    return Chain({"cniVersion": "1.0.0", "name": "storage", "plugins": [bridge, ours]}, netns, plugin_directories())


@pytest.fixture
def net1(probe_lab: Lab) -> PodNetwork:
    container = enrolled(probe_lab)["container_id"]
    return PodNetwork(container, Path(probe_lab.pods()["default/client"]["netns"]), CLIENT, ifname="net1")


def works(lab: Lab, kept: Kept, word: str) -> None:
    """The connection from before goes on, and a new one is captured and served."""
    assert kept.says(word) == word
    before = lab.metric("tidegate_verdicts_total", reason="redirect_fastpath")
    seen = lab.dial("client", "talk", 7000)
    own = lab.address("default/client", "4")
    assert (seen["sock"], seen["server"]["client"]) == (own, own)
    assert lab.metric("tidegate_verdicts_total", reason="redirect_fastpath") > before


@pytest.mark.case("E1")
async def test_a_second_interface_comes_and_goes_and_the_pod_stays_in_the_mesh(
    probe_lab: Lab, kept: Kept, storage: Chain, net1: PodNetwork
) -> None:
    works(probe_lab, kept, "before")
    before, captured = enrolled(probe_lab), row(probe_lab)
    with_both = await storage.add(net1)
    works(probe_lab, kept, "with-both")
    assert row(probe_lab) == captured, "the kernel has the pod's first address"
    assert [a["interface"] for a in enrolled(probe_lab)["attachments"]] == ["eth0", "net1"]
    await storage.check(with_both)
    await storage.delete(with_both)
    works(probe_lab, kept, "after")
    assert (enrolled(probe_lab), row(probe_lab)) == (before, captured)


@pytest.mark.case("E1")
async def test_calls_that_a_runtime_repeats_or_makes_too_early_change_nothing(
    probe_lab: Lab, kept: Kept, storage: Chain, net1: PodNetwork
) -> None:
    before, captured = enrolled(probe_lab), row(probe_lab)
    await storage.delete(net1)
    await storage.delete(replace(net1, ifname="net7"))
    await storage.delete(await storage.add(net1))
    await storage.delete(net1)
    works(probe_lab, kept, "after")
    assert (enrolled(probe_lab), row(probe_lab)) == (before, captured)
