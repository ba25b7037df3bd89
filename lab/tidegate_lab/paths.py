"""Every name that a lab gives to something in the kernel or on disk, derived from the lab's name alone.

That is what lets `lab down` find everything again after labd was killed: names are the only record. A lab's name has
no dash, so no lab's prefix is the beginning of another's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Rejected
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.model.names import WorkloadId

RUN_ROOT = Path("/run/tidegate-lab")
NETNS_ROOT = Path("/run/netns")
BPFFS_ROOT = Path("/sys/fs/bpf/tidegate")
DEFAULT_LAB = "lab"

_LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class LabPaths:
    """Where one lab keeps things. Unix sockets have at most 107 bytes of path, so directories are short."""

    name: str
    run: Path
    cgroup: Path  # parent of the node cgroups

    @classmethod
    def of(cls, name: str) -> LabPaths:
        """Paths of the lab of that name. Raises Rejected on a name that is not 1-12 of [a-z0-9], letter first."""
        if not _LAB_NAME.fullmatch(name):
            raise Rejected(f"lab name {name!r}", "is not usable", "use up to 12 of a-z and 0-9, a letter first")
        return cls(name, RUN_ROOT / name, cgroup2_mount() / "tidegate" / name)

    @property
    def socket(self) -> Path:
        return self.run / "labd.sock"

    @property
    def log(self) -> Path:
        return self.run / "labd.log"

    @property
    def pid(self) -> Path:
        return self.run / "labd.pid"

    @property
    def cluster(self) -> Path:
        """The directory that agents read with --config file:."""
        return self.run / "cluster"

    @property
    def authority(self) -> Path:
        """Of the root of all nodes' certificates, as a cluster has one; TIDEGATE_CA_DIR says another."""
        return Path(os.environ.get("TIDEGATE_CA_DIR") or self.run / "ca")

    @property
    def netns_prefix(self) -> str:
        return f"tgl-{self.name}-"

    @property
    def fabric(self) -> Path:
        return NETNS_ROOT / f"{self.netns_prefix}fabric"

    def node_run(self, node: str) -> Path:
        """Run directory of the node's agent."""
        return self.run / "nodes" / node

    def node_netns(self, node: str) -> Path:
        return NETNS_ROOT / f"{self.netns_prefix}{node}"

    def node_cgroup(self, node: str) -> Path:
        return self.cgroup / node

    def node_bpffs(self, node: str) -> Path:
        return BPFFS_ROOT / f"{self.name}-{node}"

    def pod_netns(self, pod: WorkloadId, container_id: str) -> Path:
        """A new name per sandbox: a re-created pod must not be taken for its predecessor."""
        return NETNS_ROOT / f"{self.netns_prefix}{pod.namespace}_{pod.name}-{container_id[:6]}"

    def pod_cgroup(self, node: str, pod: WorkloadId) -> Path:
        return self.node_cgroup(node) / "pods" / f"{pod.namespace}_{pod.name}"

    def pod_run(self, pod: WorkloadId) -> Path:
        """resolv.conf, hosts and logs of the pod."""
        return self.run / "pods" / f"{pod.namespace}_{pod.name}"
