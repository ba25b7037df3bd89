"""What programs are attached to, and what is attached: one type for each kind of target, one list of what is ours.

Every link of ours is a pin below the datapath's directory; which one it is says the pin's name, whether it is still
right its target's number, which a fresh agent compares. A kind of target that is new adds a type here and a row to the
ownership table of docs/architecture.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tidegate.bpf.pins import Pins, names
from tidegate.linux.cgroup import cgroup_id
from tidegate.native import checked, ffi, lib


@dataclass(frozen=True, slots=True)
class CgroupTarget:
    """Processes of a cgroup v2 directory and below it. Recognised by the cgroup's id."""

    path: Path
    kind: ClassVar[str] = "cgroup"

    @property
    def number(self) -> int:
        """What a link's kernel information says about its target. Raises OSError if that is gone."""
        return cgroup_id(self.path)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """What bpf(BPF_LINK_CREATE) takes for it. Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class NetnsTarget:
    """A network namespace, by a borrowed descriptor. Recognised by its inode: while a link lives, so does its netns."""

    fd: int
    kind: ClassVar[str] = "netns"

    @property
    def number(self) -> int:
        return os.fstat(self.fd).st_ino

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        yield self.fd


@dataclass(frozen=True, slots=True)
class MapTarget:
    """The sockets of a sockmap or sockhash, by its pin (links since Linux 6.10). Recognised by the map's id."""

    pin: Path
    kind: ClassVar[str] = "map"

    @property
    def number(self) -> int:
        with self.opened() as fd:
            info = ffi.new("struct tgb_map *")
            checked(lib.tgb_map_info(fd, info), str(self.pin))
            return int(info.id)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        fd = checked(lib.tgb_get(str(self.pin).encode()), str(self.pin))
        try:
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class DeviceTarget:
    """A network device of this thread's netns (tcx, Linux 6.6). Recognised by its index, which a new device never gets
    while the old one's link lives."""

    ifindex: int
    kind: ClassVar[str] = "device"

    @property
    def number(self) -> int:
        return self.ifindex

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        yield self.ifindex


Target = CgroupTarget | NetnsTarget | MapTarget | DeviceTarget

_KINDS = {
    lib.TGB_LINK_CGROUP: CgroupTarget.kind,
    lib.TGB_LINK_NETNS: NetnsTarget.kind,
    lib.TGB_LINK_SOCKMAP: MapTarget.kind,
    lib.TGB_LINK_TCX: DeviceTarget.kind,
}


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link of ours as the kernel has it. target: its number (see the types above), 0 = it is gone."""

    pin: str  # below the datapath's directory
    kind: str
    target: int
    program: str
    link: int


def link_information(pin: Path) -> LinkInfo | None:
    """What is pinned there; None if it is gone or no link."""
    fd = lib.tgb_get(str(pin).encode())
    if fd < 0:
        return None
    try:
        link, runs = ffi.new("struct tgb_link *"), ffi.new("struct tgb_prog *")
        if lib.tgb_link_info(fd, link) < 0:
            return None
        named = lib.tgb_prog_info_by_id(link.prog_id, runs) == 0
        program = ffi.string(runs.name).decode(errors="replace") if named else ""
        kind = _KINDS.get(link.type, str(link.type))
        return LinkInfo(f"{pin.parent.name}/{pin.name}", kind, int(link.target), program, int(link.id))
    finally:
        os.close(fd)


def attachments(pins: Pins) -> list[LinkInfo]:
    """Every link below the datapath's directory. Nothing there is fine."""
    found = (link_information(folder / name) for folder in (pins.links, pins.lookup) for name in names(folder))
    return [attachment for attachment in found if attachment is not None]
