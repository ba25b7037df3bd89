"""The wire between the cluster's machines, and the machine of its control plane: one network namespace with a bridge.

Nothing of it is on the machine's own links. The namespace lives as long as one process, which also holds the lock that
says that the cluster's folder is in use.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.kube.rooms import Room, hold

ADDRESS = "10.90.0.1"
PREFIX = 24
BRIDGE = "fabric0"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/12"
API_ADDRESS = "10.96.0.1"  # of Service default/kubernetes: the first of SERVICES
DNS_ADDRESS = "10.96.0.10"
_MAKE = f"""
set -e
ip link set lo up
ip link add {BRIDGE} type bridge
ip address add {ADDRESS}/{PREFIX} dev {BRIDGE}
ip link set {BRIDGE} up
echo ready
exec sleep infinity
"""


class Fabric:
    """group: cgroup of everything in it. lock: descriptor that is held as long as the fabric is there."""

    def __init__(self, group: Path, logs: Path) -> None:
        self._group = group / "wire"
        self._holder: subprocess.Popen[bytes] | None = None
        self.room = Room(group, logs)

    def make(self, lock: int) -> None:
        self._holder = hold(self._group, "unshare", "--net", "--", "sh", "-c", _MAKE, fds=[lock])
        self._enter(self._holder.pid)

    def find(self) -> None:
        """Enter what is there already. Raises LookupError if it is not."""
        pid = Room(self._group.parent, self.room.logs).pid("wire", "sleep")
        if pid is None:
            raise LookupError(f"nobody holds {self._group}")
        self._enter(pid)

    def _enter(self, pid: int) -> None:
        self.room.enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]

    def plug(self, node: str, number: int, holder: int) -> str:
        """Connect a node; returns its address. number: 1, 2, ...; holder: a process in its network namespace."""
        address = node_address(number)
        port = f"port{number}"
        inside = ["nsenter", f"--net=/proc/{holder}/ns/net", "--"]
        # The kernel takes a namespace's links away a moment after its last process.
        self.room.run("ip", "link", "delete", port, check=False)
        self.room.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        self.room.run("ip", "link", "set", port, "master", BRIDGE, "up", "alias", node)
        for words in (["address", "add", f"{address}/{PREFIX}", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run([*inside, "ip", *words], check=True)
        subprocess.run([*inside, "ip", "route", "add", "default", "via", ADDRESS], check=True)
        return address

    def route(self, subnet: str, via: str) -> None:
        """Reach a node's pods through it."""
        self.room.run("ip", "route", "replace", subnet, "via", via)

    def forget(self) -> None:
        """Collect what was started and has been ended."""
        self.room.forget()
        if self._holder is not None:
            self._holder.wait()


def node_address(number: int) -> str:
    """Of the node of this number, from 1."""
    return f"10.90.0.{10 + number}"
