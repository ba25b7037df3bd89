"""How much memory the processes of a cgroup may have."""

from __future__ import annotations

import os
from pathlib import Path


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
