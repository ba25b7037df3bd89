"""A node: a machine made of namespaces (`node.sh`) with containerd, kubelet and kube-proxy on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kube import images
from tests.kube.building import Programs
from tests.kube.fabric import DNS_ADDRESS, PODS, Fabric, node_address
from tests.kube.golang import PROGRAMS
from tests.kube.pki import Pki
from tests.kube.rooms import ENVIRONMENT, Room, hold
from tests.support.ended import kill
from tests.support.eventually import eventually

CONTAINERD, KUBELET, PROXY = "containerd", "kubelet", "kube-proxy"
SOCKET = "/run/containerd/containerd.sock"
KUBELET_HEALTH = "http://127.0.0.1:10248/healthz"
CONFLIST = "/etc/cni/net.d/10-kube.conflist"
_UNSHARE = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
_HERE = Path(__file__).resolve().parent


class Node:
    """number: 1, 2, ...; group: its root cgroup; folder: its disk; logs: what its programs say."""

    def __init__(self, number: int, group: Path, folder: Path, logs: Path, programs: Programs, keys: Pki) -> None:
        self.name, self.number, self.group, self.folder = node_name(number), number, group, folder
        self.address = node_address(number)
        self._programs, self._keys = programs, keys
        self._holder: subprocess.Popen[bytes] | None = None
        self.room = Room(group / "daemons", logs)

    def boot(self, wire: Fabric) -> None:
        """Power on: the machine with its cable, and containerd with the images that every pod needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        first = not (self.folder / "installed").exists()
        machine = ["unshare", *_UNSHARE, "--", str(_HERE / "node.sh"), self.name, str(self.folder)]
        self._holder = hold(self.group, *machine)
        (self.room.group / "init" / "cgroup.procs").write_text(str(self._holder.pid))
        self.find()
        wire.plug(self.name, self.number, self._holder.pid)
        self.start(CONTAINERD)
        if first:
            archives = sorted((self.folder.parent / "images").glob("*.tar"))
            for archive in archives:
                self.load(archive)

    def find(self) -> None:
        """Enter the machine that is running. Raises LookupError if it is not."""
        pid = self.room.pid("init", "unshare")
        if pid is None:
            raise LookupError(f"node {self.name} does not run")
        spaces = [f"--{kind}=/proc/{pid}/ns/{kind}" for kind in ("net", "uts", "ipc", "cgroup")]
        spaces += [f"--mount=/proc/{pid}/ns/mnt", f"--pid=/proc/{pid}/ns/pid_for_children"]
        self.room.enter = ["nsenter", *spaces, "--wdns=/", "--"]

    def power_off(self) -> None:
        """As pulling the plug: everything on it ends, its disk stays."""
        if (pid := self.room.pid("init", "unshare")) is not None:
            kill(pid)
        self.forget()
        eventually(lambda: not _populated(self.group), f"everything on {self.name} has ended")

    def start(self, name: str) -> None:
        """Start CONTAINERD, KUBELET or PROXY; containerd answers when this returns."""
        match name:
            case "containerd":
                config = self._write("containerd.toml", containerd_config(PROGRAMS / "runc.py"))
                program = self._programs.containerd
                path = {"PATH": f"{program}:{ENVIRONMENT['PATH']}"}  # its shim is looked for there
                self.room.start(name, program / name, "--config", config, extra=path)
                eventually(lambda: self.ctr("version", check=False).returncode == 0, f"{name} of {self.name} answers")
            case "kubelet":
                config = self._write("kubelet.json", json.dumps(kubelet_config(), indent=1))
                words = [f"--config={config}", f"--kubeconfig={self._keys.kubeconfig(self.name)}"]
                words += [f"--hostname-override={self.name}", f"--node-ip={self.address}"]
                words += [f"--node-labels=topology.kubernetes.io/zone=zone-{self.number}", "--v=2"]
                self.room.start(name, self._programs.kubernetes / name, *words, "--cert-dir=/var/lib/kubelet/pki")
            case "kube-proxy":
                made = proxy_config(self.name, self._keys.kubeconfig(name))
                config = self._write("proxy.json", json.dumps(made, indent=1))
                self.room.start(name, self._programs.kubernetes / name, f"--config={config}")
            case _:
                raise ValueError(f"{name}: no program of a node")

    def restart(self, name: str) -> None:
        """Kill a program and start it again; pods live on.

        kubelet answers when this returns: it ends where containerd is away while it starts, and nobody starts it again.
        """
        self.room.stop(name)
        self.start(name)
        if name == KUBELET:
            ask = ["curl", "--silent", "--fail", "--show-error", KUBELET_HEALTH]
            eventually(lambda: self.room.run(*ask).stdout == "ok", f"kubelet of {self.name} answers")

    def connect(self, pods: str, others: Sequence[tuple[str, str]]) -> None:
        """Write the CNI configuration for this subnet of pods, and routes to other nodes' (subnet, node's address)."""
        self.write(CONFLIST, json.dumps(conflist(pods), indent=2))
        for subnet, via in others:
            self.room.run("ip", "route", "replace", subnet, "via", via)

    def path(self, inside: str) -> Path:
        """A file of the node, for everybody else. inside: absolute."""
        pid = self.room.pid("init", "unshare")
        return Path(f"/proc/{pid}/root{inside}")

    def write(self, inside: str, text: str) -> None:
        """Write a file of the node so that a reader sees the old or the new one."""
        self.room.run("sh", "-c", 'cat > "$1.new" && mv "$1.new" "$1"', "sh", inside, text=text)

    def load(self, archive: Path) -> None:
        """Take up an image archive (OCI or docker-archive)."""
        self.ctr("--namespace", "k8s.io", "images", "import", str(archive))

    def ctr(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ask containerd."""
        return self.room.run(self._programs.containerd / "ctr", "--address", SOCKET, *argv, check=check)

    def forget(self) -> None:
        """Collect what was started and has been ended."""
        self.room.forget()
        if self._holder is not None:
            self._holder.wait()

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


def node_name(number: int) -> str:
    """Of the node of this number, from 1."""
    return f"node{number}"


def _populated(group: Path) -> bool:
    return "populated 1" in (group / "cgroup.events").read_text()


def conflist(subnet: str) -> dict[str, Any]:
    """The primary network: routed, no translation, so that a pod's address is its address everywhere."""
    ranges, routes = [[{"subnet": subnet}]], [{"dst": "0.0.0.0/0"}]
    ipam = {"type": "host-local", "dataDir": "/var/lib/cni/networks", "ranges": ranges, "routes": routes}
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "kube", "plugins": plugins}


def containerd_config(runc: Path) -> str:
    """runc: what is called in place of it."""
    return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
]
[grpc]
address = "{SOCKET}"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{images.PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
"""


def kubelet_config() -> dict[str, Any]:
    """For machines that give no limits and refuse most of what kubelet wants to change (`programs/runc.py`)."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,  # pods' groups would need controllers that are not there
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,  # -999, the default, takes CAP_SYS_RESOURCE
        "singleProcessOOMKill": True,
        "featureGates": {"KubeletInUserNamespace": True},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "1Mi",
            "imagefs.available": "1Mi",
            "nodefs.inodesFree": "1",
        },
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",  # the default is in /usr, which is the machine's
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": "",
    }


def proxy_config(node: str, kubeconfig: Path) -> dict[str, Any]:
    """kube-proxy that writes no sysctl."""
    never = "0s"
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": PODS,
        "hostnameOverride": node,
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": never,
            "tcpCloseWaitTimeout": never,
            "udpTimeout": never,
            "udpStreamTimeout": never,
        },
    }
