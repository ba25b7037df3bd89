"""`make build` compiles what an agent imports, so that no agent does so at its start."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What the rule of Makefile looks at besides sources, in the order in which they are made.
MADE = ("requirements.lock", "pyproject.toml", "lab/pyproject.toml", "build/.debian", ".venv/.python")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a module of each distribution, after `make setup`."""
    sources = {
        "Makefile": (ROOT / "Makefile").read_text(),
        "agent/tidegate/one/two.py": "",
        "lab/tidegate_lab/lab.py": "",
    }
    for number, (name, text) in enumerate({**sources, **dict.fromkeys(MADE, "")}.items()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000 + number,) * 2)
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def build(tree: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    environ.pop("PYTHONPYCACHEPREFIX", None)
    done = subprocess.run(
        ["make", "-s", "build"], cwd=tree, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def is_compiled(source: Path) -> bool:
    """Whether an interpreter takes the bytecode beside this source for the source's own, as it does when it imports."""
    cached = source.parent / "__pycache__" / Path(importlib.util.cache_from_source(str(source))).name
    if not cached.exists():
        return False
    stamp, size = (int.from_bytes(cached.read_bytes()[begin : begin + 4], "little") for begin in (8, 12))
    status = SourceFileLoader("", str(source)).path_stats(str(source))
    return (stamp, size) == (int(status["mtime"]), status["size"])


def test_every_source_has_its_bytecode_and_a_changed_one_gets_it_anew(tree: Path) -> None:
    sources = [tree / "agent" / "tidegate" / "one" / "two.py", tree / "lab" / "tidegate_lab" / "lab.py"]
    build(tree)
    assert [is_compiled(source) for source in sources] == [True, True]
    sources[0].write_text("changed = True\n")
    os.utime(sources[0], ((tree / "build" / ".bytecode").stat().st_mtime + 1,) * 2)  # file systems' clocks are coarse
    assert not is_compiled(sources[0])
    build(tree)
    assert [is_compiled(source) for source in sources] == [True, True]
