"""How much memory a group's processes may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.linux.memory import memory_for

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.case("C5")
def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    node = tmp_path / "agent" / "envoy"
    assert memory_for(node) == MACHINE, "no group says anything"
    node.mkdir(parents=True)
    (node / "memory.max").write_text("max\n")
    assert memory_for(node) == MACHINE
    (tmp_path / "memory.max").write_text("1048576\n")
    (node.parent / "memory.max").write_text("2097152\n")
    assert memory_for(node) == 1048576


@pytest.mark.case("C5")
def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{2 * MACHINE}\n")
    assert memory_for(tmp_path) == MACHINE
