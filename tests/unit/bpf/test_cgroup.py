"""Reading mountinfo as the kernel writes it."""

from __future__ import annotations

from pathlib import Path

from tidegate.bpf.cgroup import mounts

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
