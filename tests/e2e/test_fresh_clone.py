"""The first command of the README, in a tree that holds only what the repository holds; see also `make test-bare`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.lab import ROOT

GUARD_SECONDS = 6000
"""Against hanging, for one `make run ONCE=1`. What README says of its duration is seen by `make test-bare`."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files of the repository as they stand here, nothing that was built."""
    names = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            target = tmp_path / "tidegate" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return tmp_path / "tidegate"


@pytest.mark.timeout(3 * GUARD_SECONDS)
def test_the_first_command_works_in_a_fresh_clone_and_again(tree: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    environ = {**inherited, "TIDEGATE_LAB": "fresh"}
    for _ in range(2):
        done = subprocess.run(
            ["make", "run", "ONCE=1"],
            cwd=tree,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=GUARD_SECONDS,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "setup:" not in done.stdout, "the second run installed something again"
    assert not Path("/run/tidegate-lab/fresh").exists()
