"""Reading mountinfo as the kernel writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import Fatal
from tidegate.linux.cgroup import cgroup_home, mounts
from tidegate.linux.cgroup_dir import Cgroup

LINES = [
    "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw",
    "31 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate",
    "40 25 0:27 /kubepods /mnt/with\\040space rw - cgroup2 none rw",
]


def test_optional_fields_roots_and_escapes() -> None:
    assert list(mounts(LINES)) == [
        (Path("/sys"), "/", "sysfs"),
        (Path("/sys/fs/cgroup/unified"), "/", "cgroup2"),
        (Path("/mnt/with space"), "/kubepods", "cgroup2"),
    ]


def test_groups_are_made_below_the_own_group_or_a_new_one_below_the_root(tmp_path: Path) -> None:
    own = tmp_path / "system.slice"
    assert cgroup_home(own, tmp_path, "n1") == own
    assert cgroup_home(tmp_path, tmp_path, "n1") == tmp_path / "tidegate-n1"
    assert cgroup_home(tmp_path, tmp_path, "n1").is_dir()
    with pytest.raises(Fatal, match=r"cannot be made.*cgroup of its own"):
        cgroup_home(tmp_path / "absent", tmp_path / "absent", "n1")


def test_a_groups_memory_is_bounded_where_the_hierarchy_has_the_controller(tmp_path: Path) -> None:
    """Files stand in for the kernel's: it makes memory.max once the parent has given the controller to its children."""
    group = Cgroup(tmp_path / "envoy")
    group.path.mkdir()
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    assert group.bound_memory(1 << 30) == "this cgroup v2 hierarchy has no memory controller here"
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    assert group.bound_memory(1 << 30) == ""
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert (group.path / "memory.max").read_text() == str(1 << 30)
    (tmp_path / "cgroup.subtree_control").write_text("not written again: children have it")
    assert group.bound_memory(1 << 29) == ""
    assert (group.path / "memory.max").read_text() == str(1 << 29)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "not written again: children have it"


def test_a_group_that_cannot_be_bounded_says_why(tmp_path: Path) -> None:
    group = Cgroup(tmp_path / "envoy")
    group.path.mkdir()
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "cgroup.subtree_control").mkdir()  # as the kernel refuses it: the parent has processes of its own
    assert group.bound_memory(1 << 30) == f"the memory controller cannot be used in {tmp_path}: Is a directory"
