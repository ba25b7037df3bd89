"""Reading mountinfo as the kernel writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import Fatal
from tidegate.linux.cgroup import cgroup_home, mounts

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
