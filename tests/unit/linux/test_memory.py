"""How much memory a group's processes may have."""

from __future__ import annotations

import os
import subprocess
import sys
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


HEAP = 64 << 20  # glibc reserves this much for each heap of a thread, and makes accessible what it uses
ALLOCATES = """
import sys, threading
from pathlib import Path
from tidegate.linux.memory import share_heap

if sys.argv[1] == "shared":
    share_heap()
done, leave = threading.Event(), threading.Event()

def work():
    kept = [bytearray(10_000) for _ in range(50)]
    done.set()
    leave.wait()
    kept.clear()

thread = threading.Thread(target=work)
thread.start()
done.wait()
print(Path("/proc/self/maps").read_text(), end="")
leave.set()
thread.join()
"""


@pytest.mark.parametrize(("heap", "reserves"), [("own", True), ("shared", False)])
def test_threads_of_the_agent_share_one_heap(heap: str, reserves: bool) -> None:
    command = [sys.executable, "-c", ALLOCATES, heap]
    maps = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    reserved = 0
    for line in maps.splitlines():
        addresses, access, *_ = line.split()
        first, end = (int(number, 16) for number in addresses.split("-"))
        if access == "---p" and HEAP // 2 < end - first < HEAP:
            reserved += 1
    assert bool(reserved) is reserves
