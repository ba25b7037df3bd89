"""Nodes: network namespaces on one fabric, each with a pod bridge of its own that the CNI chain makes.

Plays the machines and their wires. Packets between pods are routed as in a plain Kubernetes network: no tunnel and no
address translation, so a pod's address is seen everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.model.net import IPAddress
from tidegate.settings import build_root
from tidegate_lab import addresses, cgroups, netns
from tidegate_lab.cni_runtime import PLUGIN_DIRECTORIES, Chain
from tidegate_lab.netns import OpenNetns
from tidegate_lab.paths import LabPaths

# Duplicate address detection would keep a new IPv6 address unusable for a second or more.
NO_DAD = {
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}
_ROUTER = {
    **NO_DAD,
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
    # The effective filter is the stricter of `all` and the interface's, so both must allow it.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}


@dataclass(slots=True, eq=False)
class LabNode:
    """A running node."""

    name: str
    index: int  # 1-based
    netns: Path
    cgroup: Path
    inside: OpenNetns
    chain: Chain

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return addresses.node_addresses(self.index)


async def make_nodes(paths: LabPaths, count: int, mesh: bool) -> list[LabNode]:
    """Create the fabric and its nodes. Raises Fatal; what was made by then is found again by its name."""
    await netns.add(paths.fabric)
    await netns.ip(paths.fabric, ["link set lo up", "link add br0 type bridge mcast_snooping 0", "link set br0 up"])
    return [await _make_node(paths, index, count, mesh) for index in range(1, count + 1)]


async def _make_node(paths: LabPaths, index: int, count: int, mesh: bool) -> LabNode:
    name = f"node{index}"
    path = paths.node_netns(name)
    await netns.add(path)
    inside = OpenNetns(path)
    await inside.run(lambda: netns.set_sysctls(_ROUTER))
    await netns.ip(paths.fabric, [f"link add {name} type veth peer name eth0 netns {path.name}"])
    await netns.ip(paths.fabric, [f"link set {name} master br0 up"])
    await netns.ip(path, _node_links(index, count))
    cgroup = cgroups.make(paths.node_cgroup(name))
    for child in ("agent", "host", "pods"):
        cgroups.make(cgroup / child)
    run = paths.node_run(name)
    run.mkdir(parents=True, mode=0o700)
    conflist = _conflist(run, index, mesh)
    (run / "net.d").mkdir()
    (run / "net.d" / "10-tidegate-lab.conflist").write_text(json.dumps(conflist, indent=2) + "\n")
    return LabNode(name, index, path, cgroup, inside, Chain(conflist, path, plugin_directories()))


def _node_links(index: int, count: int) -> list[str]:
    four, six = addresses.node_addresses(index)
    commands = [
        "link set lo up",
        f"addr add {four}/{addresses.FABRIC4.prefixlen} dev eth0",
        f"addr add {six}/{addresses.FABRIC6.prefixlen} dev eth0 nodad",
        "link set eth0 up",
        # Cluster DNS is local to each node: no service address has to be routed or translated.
        f"addr add {addresses.DNS4}/32 dev lo",
        f"addr add {addresses.DNS6}/128 dev lo nodad",
    ]
    for other in range(1, count + 1):
        if other != index:
            via4, via6 = addresses.node_addresses(other)
            pods4, pods6 = addresses.pod_ranges(other)
            commands += [f"route add {pods4} via {via4}", f"route add {pods6} via {via6}"]
    return commands


def plugin_directories() -> Sequence[Path]:
    """Where CNI plugins are looked for; ours is in the build directory."""
    return (build_root() / "cni", *PLUGIN_DIRECTORIES)


def _conflist(run: Path, index: int, mesh: bool) -> dict[str, Any]:
    ranges = [[{"subnet": str(subnet)}] for subnet in addresses.pod_ranges(index)]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(run / "ipam"),
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }
    plugins: list[dict[str, Any]] = [bridge]
    if mesh:
        plugins.append({"type": "tidegate", "agentSocket": str(run / "cni.sock")})
    return {"cniVersion": "1.0.0", "name": "tidegate-lab", "plugins": plugins}
