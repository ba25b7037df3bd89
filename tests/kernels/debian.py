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
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What the guest needs before it has its root file system and, as the host's tree may have no modprobe that the kernel
# could ask: what nodes and pods are made of, what `iptables-save` needs. MPTCP, IPv6, bpf and cgroups are built in.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "veth", "bridge", "crc32c_generic", "nf_tables", "nft_compat")


class KernelError(Exception):
    """No result from a kernel; the text says why and, where it helps, what to do."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One entry of kernels.toml. package: an image package of Debian or a meta-package that depends on one.

    release: the Debian release that has it; "": what apt is configured for. suites: what runs there; (): all that are
    no other kernel's own.
    """

    name: str
    package: str
    release: str = ""
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Boot:
    """What a guest is started from. modules: contents of .ko files by name, in the order in which they load."""

    release: str
    image: Path
    modules: dict[str, bytes]
    busybox: bytes


def unpack(kernel: Kernel, cache: Path, work: Path) -> Boot:
    """Fetch (or find in cache) and unpack a kernel and busybox below work. Raises KernelError with apt's words."""
    configured = Apt()
    apt = configured.of(kernel.release, cache.parent / f"apt-{kernel.release}") if kernel.release else configured
    package = apt.concrete(kernel.package)
    release = package.removeprefix("linux-image-")
    for file in (apt.fetch(package, cache), configured.fetch(BUSYBOX, cache)):
        command("dpkg-deb", "-x", str(file), str(work / "tree"))
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


class Apt:
    """apt as it is configured, or with sources of its own."""

    def __init__(self, *options: str) -> None:
        self._options = options

    def of(self, release: str, state: Path) -> Apt:
        """For another release of Debian, from the archive that has this machine's; its lists are kept in state."""
        wanted = "Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"
        archives = self._run("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted).split()
        if not archives:
            raise KernelError(f"no source of apt is Debian's own archive: none to get {release} from")
        for part in ("lists/partial", "cache/archives/partial"):
            (state / part).mkdir(parents=True, exist_ok=True)
        sources = state / "sources.list"
        sources.write_text(f"deb [signed-by={KEYS}] {archives[0]} {release} main\n")
        places = {"Etc::SourceList": sources, "Etc::SourceParts": "-", "State::Lists": state / "lists"}
        places |= {"Cache": state / "cache"}
        return Apt(*(f"-oDir::{name}={path}" for name, path in places.items()))

    def concrete(self, package: str) -> str:
        """The image package behind a meta-package, or the package itself."""
        depends = re.findall(r"Depends: (linux-image-\S+)", self._run("apt-cache", "depends", package))
        return depends[0] if depends else package

    def fetch(self, package: str, cache: Path) -> Path:
        """The .deb of the version that apt would install; in cache afterwards, older versions of it are not."""
        cache.mkdir(parents=True, exist_ok=True)
        # "'URL' FILE SIZE HASH": FILE is what a download will be called. Says nothing in a directory that has it.
        uris = self._run("apt-get", "download", "--print-uris", package, cwd=cache.parent)
        name = uris.splitlines()[-1].split()[1]
        if not (cache / name).is_file():
            self._run("apt-get", "download", "-q", package, cwd=cache)
        for old in cache.glob(f"{package}_*.deb"):
            if old.name != name:
                old.unlink()
        return cache / name

    def _run(self, tool: str, *args: str, cwd: Path | None = None) -> str:
        """Output of a tool. If it fails, refresh the lists and try again: they may be old, or not there yet."""
        try:
            return command(tool, *self._options, *args, cwd=cwd)
        except KernelError as error:
            if os.geteuid() != 0:
                raise KernelError(f"{error}; apt-get update (as root) may help") from None
        command("apt-get", *self._options, "update", "-q")
        return command(tool, *self._options, *args, cwd=cwd)


def command(*args: str, cwd: Path | None = None) -> str:
    """Output of a command. Raises KernelError with what it said if it fails."""
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
