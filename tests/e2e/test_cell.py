"""The cell that all but the first lane of `make test` run in (tests/support/cell.sh)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.footprint import footprint
from tests.support.lanes import CELL

LOOK = """
readlink /proc/self/ns/net /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/cgroup
find /run /sys/fs/bpf -mindepth 1 -type d
cat /proc/self/cgroup | tail -1
ip link add left type veth peer name left2; mkdir /sys/fs/bpf/left
mkdir "$(awk '$0 ~ / - cgroup2 /{print $5; exit}' /proc/self/mountinfo)/left"
sleep 600 < /dev/null > /dev/null 2>&1 &
exit 7
"""


def test_a_cell_has_its_own_of_everything_passes_the_exit_code_on_and_leaves_nothing() -> None:
    ours = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid", "cgroup")]
    links = footprint()["links"]
    with subprocess.Popen(
        [CELL, "bash", "-c", LOOK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as cell:
        said, complaints = cell.communicate()
    assert (cell.returncode, complaints) == (7, ""), said
    *theirs, group = said.splitlines()
    assert len(theirs) == 4, said
    assert not set(ours) & set(theirs)
    assert group == "0::/"
    # A group goes only after its last process: the sleep is gone as well.
    after = footprint(f"tidegate-cell-{cell.pid}")
    assert not after["cgroups"]
    assert after["links"] == links
    assert not footprint("/sys/fs/bpf/left")["pins"]
