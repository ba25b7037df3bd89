"""Who is in a cgroup. Others come and go (probes, a shell before exec, one that ends): nobody looks only once."""

from __future__ import annotations

from pathlib import Path

from tests.support.eventually import eventually


def members(cgroup: Path) -> set[int]:
    """Processes in it at this moment; none if it is gone."""
    try:
        return {int(line) for line in (cgroup / "cgroup.procs").read_text().split()}
    except FileNotFoundError:
        return set()


def sole_member(cgroup: Path) -> int:
    """The process that is left when nobody else is there for a moment."""
    (pid,) = eventually(
        lambda: found if len(found := members(cgroup)) == 1 else set[int](), f"one process alone is in {cgroup}"
    )
    return pid
