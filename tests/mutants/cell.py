"""A copy of this machine in which a broken Tidegate may do as it likes: nothing that it does or leaves gets out.

One process tree with mount, network, pid and cgroup namespaces of its own. A copy of the checkout, as an overlay, is
mounted over the checkout itself, so every path, the editable install in .venv and the time stamps that `make` looks at
stay as they are, while changes go to memory and vanish with the cell. /run, bpffs and the root of cgroup v2 are empty
and the cell's own: labs of the same name inside and outside do not meet, and what a broken `lab down` leaves dies with
the namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutant import ROOT
from tidegate.linux.cgroup import cgroup2_mount
from tidegate_lab import cgroups

BUILD_FAILED = 90

# $1 checkout, $2 its copy, $3 work directory, $4 mount point of cgroup v2, $5 targets of make ("" = none), from
# $6 pytest's arguments. bash stays as the init of the pid namespace and reaps what labs leave to it.
SCRIPT = rf"""
set -eu
root=$1 copy=$2 work=$3 cgroup=$4 targets=$5
shift 5
umount "$cgroup"
mount -t cgroup2 cgroup2 "$cgroup"
mountpoint -q /sys/fs/bpf && umount /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
ip link set lo up
mkdir -p "$work/memory"
mount -t tmpfs tmpfs "$work/memory"
mkdir "$work/memory/upper" "$work/memory/own" "$work/venv"
mount --bind "$root/.venv" "$work/venv"
mount -t overlay overlay -o "lowerdir=$copy,upperdir=$work/memory/upper,workdir=$work/memory/own" "$root"
mount --bind "$work/venv" "$root/.venv"
cd "$root"
cp -r "$work/changed/." .
if [ -n "$targets" ]; then
    make -s $targets > "$work/build.log" 2>&1 || exit {BUILD_FAILED}
fi
code=0
{sys.executable} -m pytest -p tests.mutants.outcomes -q "$@" > "$work/pytest.log" 2>&1 || code=$?
exit $code
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run went: pytest's exit code, one row per phase of each test (outcomes.py), and what was printed."""

    code: int
    rows: list[dict[str, Any]]
    build_log: str
    log: str

    @property
    def built(self) -> bool:
        return self.code != BUILD_FAILED

    def bad(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["outcome"] == "failed"]


@contextlib.contextmanager
def copy_of_checkout() -> Iterator[Path]:
    """The checkout as it is now, with what was built: whoever goes on working in it does not disturb the cells."""
    with tempfile.TemporaryDirectory(prefix="tidegate-checkout-") as name:
        copy = Path(name)
        parts = [path for path in ROOT.iterdir() if path.name not in (".git", ".venv", "build")]
        subprocess.run(["cp", "-a", *parts, copy], check=True)
        # Whole systems that other targets unpack there, perhaps at this moment.
        built = [path for path in (ROOT / "build").iterdir() if path.name not in ("bare", "kernels")]
        for directory in (".venv", "build"):
            (copy / directory).mkdir()
        subprocess.run(["cp", "-a", *built, copy / "build"], check=True)
        yield copy


def run(
    copy: Path,
    changed: Mapping[str, str],
    targets: Sequence[str],
    pytest: Sequence[str],
    seconds: float,
    environ: Mapping[str, str] | None = None,
) -> Ran:
    """Put `changed` (path from the root -> text) over a copy of the checkout, build targets, run pytest; all in a cell.

    The cell is killed after `seconds`; its code is then -SIGKILL. Needs root and overlayfs.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-") as name, _cgroup() as cgroup:
        work = Path(name)
        (work / "changed").mkdir()
        for file, text in changed.items():
            path = work / "changed" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            shutil.copymode(copy / file, path)
        outcomes = work / "outcomes.json"
        command = ["unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "--mount-proc", "--kill-child=KILL"]
        command += [
            "bash",
            "-c",
            SCRIPT,
            "cell",
            str(ROOT),
            str(copy),
            name,
            str(cgroup2_mount()),
            " ".join(targets),
            *pytest,
        ]
        process = subprocess.Popen(
            ["bash", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup), *command],
            env={**os.environ, **(environ or {}), "MUTANT_OUTCOMES": str(outcomes), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # what a mutant does to its process group stays in the cell
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            said = ""
        finally:
            process.kill()  # and with it everything in the cell; the leader's own end leaves nothing to kill
            process.wait()
        rows = json.loads(outcomes.read_text())["rows"] if outcomes.exists() else []
        return Ran(process.returncode, rows, _read(work / "build.log"), said + _read(work / "pytest.log"))


@contextlib.contextmanager
def _cgroup() -> Iterator[Path]:
    """A group whose inside the cell takes for the whole hierarchy."""
    path = cgroup2_mount() / f"tidegate-mutant-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        cgroups.remove(path, timeout=120)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
