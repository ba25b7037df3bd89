"""What programs of a cluster change on a machine that is theirs alone, looked at on the one that is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

Machine = dict[str, str]
# kubelet sets these for everybody.
SYSCTLS = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"]
SYSCTLS += ["kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"]
# kubelet and the controllers make folders for plugins, a runtime and CNI theirs.
FOLDERS = ["/usr/libexec/kubernetes", "/etc/cni", "/etc/kubernetes", "/etc/containerd", "/opt/cni", "/opt/containerd"]
FOLDERS += ["/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/etcd", "/var/log/pods"]
FOLDERS += ["/var/log/containers", "/var/run/kubernetes", "/run/containerd", "/run/cni"]


def machine() -> Machine:
    """Values of sysctls, files of folders, links and rules, under their names."""
    found = {key: file.read_text() for key in SYSCTLS if (file := Path("/proc/sys", key)).exists()}
    found |= {folder: listing(Path(folder)) for folder in FOLDERS}
    for command in (("ip", "-o", "link"), ("ip", "rule"), ("nft", "list", "ruleset")):
        found[" ".join(command)] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return found


def listing(folder: Path) -> str:
    """Files below a folder with size and time of change; "absent" if it is not there."""
    if not folder.exists():
        return "absent"
    paths = [folder, *sorted(folder.rglob("*"))]
    return "\n".join(f"{path} {path.lstat().st_size} {path.lstat().st_mtime_ns}" for path in paths)
