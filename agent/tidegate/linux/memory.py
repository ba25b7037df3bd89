"""How much memory the processes of a cgroup may have, and how this one spends it."""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.native import checked, lib


def memory_for(cgroup: Path) -> int:
    """Bytes: the machine's memory, or the smallest memory.max on the way up from the group, which need not exist yet.

    A group without the file (the memory controller is not in this hierarchy, or nobody asked for it) limits nothing.
    """
    smallest = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in (cgroup, *cgroup.parents):
        try:
            text = (group / "memory.max").read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            smallest = min(smallest, int(text))
    return smallest


def share_heap() -> None:
    """Let all threads that are made from now on allocate from one heap of the C library.

    By default each gets one of its own, up to eight for each processor, and keeps what it freed there: a sixth of an
    agent that has a dozen threads, of which the interpreter runs one at a time. Raises OSError.
    """
    checked(lib.tgb_heaps(1), "heaps of the C library")
