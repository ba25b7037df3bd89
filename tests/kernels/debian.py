"""Kernels out of Debian packages: fetched with apt, unpacked beside the build, never installed."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BUSYBOX = "busybox-static"
# What the guest needs before it has its root file system and, as the host's tree may have no modprobe that the kernel
# could ask: what nodes and pods are made of, what `iptables-save` needs. MPTCP, IPv6, bpf and cgroups are built in.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "veth", "bridge", "crc32c_generic", "nf_tables", "nft_compat")


class KernelError(Exception):
    """No result from a kernel; the text says why and, where it helps, what to do."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One entry of kernels.toml. package: an image package of Debian or a meta-package that depends on one."""

    name: str
    package: str


@dataclass(frozen=True, slots=True)
class Boot:
    """What a guest is started from. modules: contents of .ko files by name, in the order in which they load."""

    release: str
    image: Path
    modules: dict[str, bytes]
    busybox: bytes


def unpack(kernel: Kernel, cache: Path, work: Path) -> Boot:
    """Fetch (or find in cache) and unpack a kernel and busybox below work. Raises KernelError with apt's words."""
    package = concrete(kernel.package)
    release = package.removeprefix("linux-image-")
    for name in (package, BUSYBOX):
        command("dpkg-deb", "-x", str(fetch(name, cache)), str(work / "tree"))
    tree = work / "tree"
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in tree.glob(f"**/{release}/kernel/**/*.ko*")}
    builtin = {
        Path(line).stem.replace("-", "_")
        for line in next(tree.glob(f"**/{release}/modules.builtin")).read_text().splitlines()
    }
    modules: dict[str, bytes] = {}
    for name in MODULES:
        if name not in builtin:
            _load_order(name, files, builtin, modules)
    image = work / "vmlinuz"
    shutil.move(tree / "boot" / f"vmlinuz-{release}", image)
    busybox = (tree / "bin" / "busybox").read_bytes()
    shutil.rmtree(tree)
    return Boot(release, image, modules, busybox)


def concrete(package: str) -> str:
    """The image package behind a meta-package, or the package itself."""
    depends = re.findall(r"Depends: (linux-image-\S+)", command("apt-cache", "depends", package, update=True))
    return depends[0] if depends else package


def fetch(package: str, cache: Path) -> Path:
    """The .deb of the version that apt would install; in cache afterwards, older versions of it are not."""
    cache.mkdir(parents=True, exist_ok=True)
    # "'URL' FILE SIZE HASH": FILE is what a download will be called. Says nothing in a directory that has it.
    uris = command("apt-get", "download", "--print-uris", package, cwd=cache.parent, update=True)
    name = uris.splitlines()[-1].split()[1]
    if not (cache / name).is_file():
        command("apt-get", "download", "-q", package, cwd=cache, update=True)
    for old in cache.glob(f"{package}_*.deb"):
        if old.name != name:
            old.unlink()
    return cache / name


def command(*args: str, cwd: Path | None = None, update: bool = False) -> str:
    """Output of a command. update: if it fails, refresh apt's lists (as root) and try again: they may be old."""
    done = subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode and update:
        if os.geteuid() != 0:
            raise KernelError(f"{' '.join(args)}: {done.stderr.strip()}; apt-get update (as root) may help")
        command("apt-get", "update", "-q")
        done = subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def _load_order(name: str, files: dict[str, Path], builtin: set[str], into: dict[str, bytes]) -> None:
    """Add a module after those it depends on. The package has no modules.dep, but each module names its own."""
    if name in into:
        return
    if name not in files:
        raise KernelError(f"this kernel has no module {name}")
    content = files[name].read_bytes()
    if files[name].suffix == ".xz":
        content = lzma.decompress(content)
    depends = re.search(rb"\0depends=([^\0]*)\0", content)
    for other in depends[1].decode().split(",") if depends else []:
        other_name = other.replace("-", "_")
        if other_name and other_name not in builtin:
            _load_order(other_name, files, builtin, into)
    into[name] = content
