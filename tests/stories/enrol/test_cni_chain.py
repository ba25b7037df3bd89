"""Our plugin behind the reference bridge and host-local plugins, in namespaces of the test's own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cni import Recorder

from tidegate.enroll.cni_server import CniServer
from tidegate.errors import Transient
from tidegate.model.names import WorkloadId
from tidegate_lab.cni_runtime import Chain, PodNetwork
from tidegate_lab.node import plugin_directories

POD = WorkloadId("shop", "web-0")


@dataclass
class Node:
    netns: Path
    pod: Path
    state: Path
    agent: Recorder
    server: CniServer

    def chain(self, version: str = "1.0.0") -> Chain:
        ranges = [[{"subnet": "10.55.0.0/24"}], [{"subnet": "fd55::/64"}]]
        ipam = {"type": "host-local", "dataDir": str(self.state / "ipam"), "ranges": ranges}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
        ours = {"type": "tidegate", "agentSocket": str(self.state / "cni.sock")}
        conflist = {"cniVersion": version, "name": "chain", "plugins": [bridge, ours]}
        return Chain(conflist, self.netns, plugin_directories())

    def attachment(self) -> PodNetwork:
        return PodNetwork("c1", self.pod, POD)

    def reserved(self) -> list[str]:
        """Addresses that host-local has given away."""
        return sorted(path.name for path in (self.state / "ipam" / "chain").glob("[0-9f]*"))


@pytest.fixture
def namespaces() -> Iterator[list[Path]]:
    tag = secrets.token_hex(3)
    paths = [Path(f"/run/netns/x-lab-{kind}-{tag}") for kind in ("node", "pod")]
    for path in paths:
        subprocess.run(["ip", "netns", "add", path.name], check=True)
    yield paths
    for path in paths:
        subprocess.run(["ip", "netns", "delete", path.name], check=True)


@pytest.fixture
async def node(tmp_path: Path, namespaces: list[Path]) -> AsyncIterator[Node]:
    agent = Recorder()
    server = CniServer(tmp_path / "cni.sock", agent)
    await server.start()
    yield Node(namespaces[0], namespaces[1], tmp_path, agent, server)
    await server.stop()


def addresses(netns: Path) -> set[str]:
    """Addresses of eth0, with prefix length; empty when there is no such interface."""
    out = subprocess.run(["ip", "-n", netns.name, "-j", "addr", "show"], capture_output=True, text=True, check=True)
    links: list[dict[str, Any]] = json.loads(out.stdout)
    found = [a for link in links if link["ifname"] == "eth0" for a in link["addr_info"] if a["scope"] == "global"]
    return {f"{a['local']}/{a['prefixlen']}" for a in found}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
async def test_a_pod_is_attached_checked_and_detached(node: Node, version: str) -> None:
    chain = node.chain(version)
    attached = await chain.add(node.attachment())
    assert addresses(node.pod) == {"10.55.0.2/24", "fd55::2/64"}
    assert [str(ip) for ip in attached.ips] == ["10.55.0.2", "fd55::2"]
    await chain.check(attached)
    await chain.delete(attached)
    assert addresses(node.pod) == set()
    assert node.reserved() == []
    assert [request.command for request in node.agent.requests] == ["ADD", "CHECK", "DEL"]


async def test_the_agent_learns_which_pod_where_and_its_addresses(node: Node) -> None:
    await node.chain().add(node.attachment())
    (request,) = node.agent.requests
    assert (request.pod, request.container_id, request.netns_path) == (POD, "c1", str(node.pod))
    assert [str(ip) for ip in request.ips] == ["10.55.0.2", "fd55::2"]
    assert node.agent.inodes == [os.stat(node.pod).st_ino]


async def test_the_result_of_the_chain_is_the_one_before_us(node: Node) -> None:
    attached = await node.chain().add(node.attachment())
    assert [interface["name"] for interface in attached.result["interfaces"]][-1] == "eth0"
    assert attached.result["cniVersion"] == "1.0.0"


async def test_while_the_agent_is_away_pods_wait_and_can_go(node: Node) -> None:
    chain = node.chain()
    attached = await chain.add(node.attachment())
    await node.server.stop()
    await chain.delete(attached)
    assert (addresses(node.pod), node.reserved()) == (set(), [])
    with pytest.raises(Transient, match="agent of this node is away"):
        await chain.add(node.attachment())
    await chain.delete(node.attachment())
    await node.server.start()
    again = await chain.add(node.attachment())
    assert len(again.ips) == 2
