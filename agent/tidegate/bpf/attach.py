"""Attaching programs to cgroups and netns by pinned links, or adopting the links that an earlier process left.

A link is created and then pinned: killed in between, its only descriptor dies with the process and the program is off
again, so a half-done start never leaves a hook that nobody can find.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from tidegate.bpf.objects import REMEDY, Program, identity
from tidegate.bpf.pins import drop_link
from tidegate.native import checked, fatal, ffi, lib


class Attached(Enum):
    """How a hook came to be in place."""

    ADOPTED = "adopted"  # link and program of an earlier process, untouched
    UPDATED = "updated"  # its link, now running our program; no moment without one
    CREATED = "created"


def attach(pin: Path, program: Program, target_fd: int, target: int, shared: frozenset[int]) -> Attached:
    """Have program run at a cgroup or netns, with its link pinned.

    target is what the link must point to (cgroup id or inode of the netns), shared the ids of our maps.
    Raises Fatal if the kernel refuses.
    """
    if pin.exists():
        adopted = adopt(pin, program, target, shared)
        if adopted is not None:
            return adopted
        drop_link(pin)
    fd = lib.tgb_link_create(program.fd, target_fd, program.attach_type)
    if fd < 0:
        raise fatal(fd, f"attaching {program.name}", REMEDY)
    try:
        checked(lib.tgb_pin(fd, str(pin).encode()), str(pin))
    finally:
        os.close(fd)
    return Attached.CREATED


def adopt(pin: Path, program: Program, target: int, shared: frozenset[int]) -> Attached | None:
    """Have the link that is pinned already run program; None if it is of no use: it points elsewhere or nowhere."""
    fd = lib.tgb_get(str(pin).encode())
    if fd < 0:
        return None
    try:
        link, runs = ffi.new("struct tgb_link *"), ffi.new("struct tgb_prog *")
        if lib.tgb_link_info(fd, link) < 0 or link.target != target:
            return None
        if lib.tgb_prog_info_by_id(link.prog_id, runs) == 0:
            tag, map_ids = identity(runs)
            # Same instructions on other maps are another program: ids of the maps that we share must be the same.
            if tag == program.tag and map_ids & shared == program.map_ids & shared:
                return Attached.ADOPTED
        return Attached.UPDATED if lib.tgb_link_update(fd, program.fd) == 0 else None
    finally:
        os.close(fd)


def link_target(pin: Path) -> int:
    """Cgroup id or netns inode of a pinned link; 0 if that is gone or the pin is no link."""
    fd = lib.tgb_get(str(pin).encode())
    if fd < 0:
        return 0
    link = ffi.new("struct tgb_link *")
    result = lib.tgb_link_info(fd, link)
    os.close(fd)
    return int(link.target) if result == 0 else 0
