"""What lives in bpffs: DIR/maps/<map>, DIR/links/<program>, DIR/lookup/<netns cookie>; while layouts change, DIR/next
and DIR/old (upgrade.py). A pin keeps its object alive without any process, which is how capture survives the agent;
removing the last pin ends it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Fatal, Rejected
from tidegate.linux.cgroup import MOUNTINFO, mounts
from tidegate.native import checked, lib

USUAL = Path("/sys/fs/bpf")  # the only place where the kernel provides an empty directory for it


@dataclass(frozen=True, slots=True)
class Pins:
    """Directories of one datapath."""

    root: Path

    @property
    def maps(self) -> Path:
        return self.root / "maps"

    @property
    def next(self) -> Path:
        """Maps that are being built."""
        return self.root / "next"

    @property
    def old(self) -> Path:
        """Maps that no hook runs with any more."""
        return self.root / "old"

    @property
    def links(self) -> Path:
        return self.root / "links"

    @property
    def lookup(self) -> Path:
        return self.root / "lookup"

    def create(self) -> None:
        """Make the directories, mounting bpffs at its usual place if need be. Raises Fatal if it cannot be there."""
        mount_bpffs(self.root)
        self.settle()
        for directory in (self.maps, self.links, self.lookup):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def settle(self) -> None:
        """Complete or drop what is left of a change of layouts, as upgrade.py says. Raises OSError."""
        if self.old.is_dir() and not self.maps.is_dir():
            self.next.rename(self.maps)
        unpin_all(self.old)
        unpin_all(self.next)

    def remove(self) -> None:
        """End capture: detach what is attached, connect hooks first, and leave no pin and no directory."""
        links = names(self.links)
        for name in [*(n for n in links if "connect" in n), *(n for n in links if "connect" not in n)]:
            drop_link(self.links / name)
        for name in names(self.lookup):
            drop_link(self.lookup / name)
        for directory in (self.links, self.lookup, self.maps, self.next, self.old):
            unpin_all(directory)
        if self.root.is_dir():
            self.root.rmdir()


def claim(root: Path) -> int:
    """Make this process the only owner of the pins below root until it ends or closes the descriptor returned.

    Two agents would write each other's settings and remove each other's rows. Raises Rejected if there is an owner.
    """
    mount_bpffs(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Rejected(
            f"pin directory {root}", "belongs to another agent that runs", "stop it or use another --bpffs"
        ) from None
    return fd


def names(directory: Path) -> list[str]:
    """Names of the pins in a directory, sorted; none if it does not exist."""
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def unpin_all(directory: Path) -> None:
    """Remove a directory of pins; none is fine. What others hold lives on without a name."""
    for name in names(directory):
        (directory / name).unlink()
    if directory.is_dir():
        directory.rmdir()


def drop_link(pin: Path) -> None:
    """Detach a pinned link at once, whoever else holds it open, and remove the pin."""
    fd = lib.tgb_get(str(pin).encode())
    if fd >= 0:
        lib.tgb_link_detach(fd)  # fails only for a link whose target is gone, which is as good
        os.close(fd)
    pin.unlink()


def bpffs_mounted(path: Path) -> bool:
    """Whether path is or will be inside a bpf file system."""
    kind, best = "", -1
    with MOUNTINFO.open() as lines:
        for point, _, fs in mounts(lines):
            # The later of two mounts at one place hides the earlier.
            if path.is_relative_to(point) and len(point.parts) >= best:
                kind, best = fs, len(point.parts)
    return kind == "bpf"


def mount_bpffs(path: Path) -> None:
    """Make sure that path is in a bpffs. Raises Fatal if it is elsewhere or mounting is not allowed."""
    if bpffs_mounted(path):
        return
    if not path.is_relative_to(USUAL):
        raise Fatal(f"pin directory {path}", "is not in a bpf file system", f"use a directory under {USUAL}")
    try:
        checked(lib.tgb_mount_bpffs(str(USUAL).encode()), str(USUAL))
    except OSError as error:
        raise Fatal(f"bpf file system on {USUAL}", str(error), f"mount -t bpf bpf {USUAL}") from error
