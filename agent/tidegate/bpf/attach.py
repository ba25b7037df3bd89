"""Attaching programs to their targets by pinned links, or adopting the links that an earlier process left.

A link is created and then pinned: killed in between, its only descriptor dies with the process and the program is off
again, so a half-done start never leaves a hook that nobody can find.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from tidegate.bpf.objects import REMEDY, Program, identity
from tidegate.bpf.pins import drop_link
from tidegate.bpf.targets import Target
from tidegate.native import checked, fatal, ffi, lib


class Attached(Enum):
    """How a hook came to be in place."""

    ADOPTED = "adopted"  # link and program of an earlier process, untouched
    UPDATED = "updated"  # its link, now running our program; no moment without one
    CREATED = "created"


class Exchange:
    """Links that are changed together: all of them, or undo() puts back what they ran."""

    def __init__(self, shared: frozenset[int]) -> None:
        """shared: ids of our maps."""
        self._shared = shared
        self._before: list[tuple[Path, int]] = []  # link and descriptor of the program that it ran, to put it back
        self._created: list[Path] = []

    def attach(self, pin: Path, program: Program, target: Target) -> Attached:
        """Have program run at a target, with its link pinned. A link that points elsewhere is replaced.

        Raises Fatal if the kernel refuses.
        """
        if pin.exists():
            adopted = self.adopt(pin, program, target.number)
            if adopted is not None:
                return adopted
            drop_link(pin)
        with target.opened() as handle:
            fd = lib.tgb_link_create(program.fd, handle, program.attach_type)
        if fd < 0:
            raise fatal(fd, f"attaching {program.name}", REMEDY)
        try:
            checked(lib.tgb_pin(fd, str(pin).encode()), str(pin))
        finally:
            os.close(fd)
        self._created.append(pin)
        return Attached.CREATED

    def adopt(self, pin: Path, program: Program, target: int) -> Attached | None:
        """Have the link that is pinned already run program; None if it is of no use: it points elsewhere or nowhere.

        target: the number of what it must point to (targets.py).

        Raises Fatal if the kernel refuses.
        """
        fd = lib.tgb_get(str(pin).encode())
        if fd < 0:
            return None
        try:
            link, runs = ffi.new("struct tgb_link *"), ffi.new("struct tgb_prog *")
            if lib.tgb_link_info(fd, link) < 0 or link.target != target:
                return None
            running = lib.tgb_prog_get(link.prog_id)
            if running >= 0:
                self._before.append((pin, running))
                if lib.tgb_prog_info(running, runs) == 0:
                    tag, map_ids = identity(runs)
                    # Same instructions on other maps are another program: the maps that we share must be the same.
                    if tag == program.tag and map_ids & self._shared == program.map_ids & self._shared:
                        return Attached.ADOPTED
            result = lib.tgb_link_update(fd, program.fd)
            if result < 0:
                raise fatal(result, f"exchanging {program.name}", REMEDY)
            return Attached.UPDATED
        finally:
            os.close(fd)

    def undo(self) -> None:
        """Put every link back to the program that it ran, remove those that were not there."""
        for pin in reversed(self._created):
            drop_link(pin)
        for pin, program_fd in reversed(self._before):
            fd = lib.tgb_get(str(pin).encode())
            if fd >= 0:
                lib.tgb_link_update(fd, program_fd)  # the kernel took this very program here before
                os.close(fd)
        self.close()

    def close(self) -> None:
        """What was changed stays. Nothing can be undone afterwards."""
        while self._before:
            os.close(self._before.pop()[1])
        self._created.clear()
