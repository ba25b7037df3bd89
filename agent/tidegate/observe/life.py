"""What a fresh agent knows of its predecessor: how often it started and whether the last one ended on purpose."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import Fatal, Rejected


@dataclass(frozen=True, slots=True)
class Life:
    """starts counts lives in this run directory; previous is none, stopped, failed (an error of its own) or killed."""

    starts: int
    previous: str


def make_private(run_dir: Path) -> None:
    """Make the run directory unless it is there. Raises Fatal if that cannot be, Rejected as require_private()."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = f"cannot be made: {error.strerror}"
        raise Fatal(f"run directory {run_dir}", why, "name another one with --run-dir") from error
    require_private(run_dir)


def require_private(run_dir: Path) -> None:
    """Raise Rejected if somebody else could put files or links into the run directory, or take our sockets' names."""
    status = run_dir.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Rejected(
            f"run directory {run_dir}",
            f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o777:o}, so others may write into it",
            f"chown root {run_dir} && chmod 700 {run_dir}",
        )


@contextmanager
def living(run_dir: Path) -> Iterator[Life]:
    """One life: begin() now, end() when the block is left, by what it raised. Raises Rejected as begin() does."""
    life = begin(run_dir)
    try:
        yield life
    except BaseException:
        end(run_dir, "failed")
        raise
    end(run_dir, "stopped")


def begin(run_dir: Path) -> Life:
    """Record a start. Raises Rejected if another live agent owns the run directory."""
    path = run_dir / "agent.json"
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"starts": 0, "pid": 0, "ended": "none"}
    pid = int(before["pid"])
    if not before["ended"] and pid != os.getpid() and _is_agent(pid):
        raise Rejected(
            f"run directory {run_dir}",
            f"belongs to the running agent with pid {pid}",
            "stop it or use another --run-dir",
        )
    life = Life(int(before["starts"]) + 1, before["ended"] or "killed")
    _write(path, {"starts": life.starts, "pid": os.getpid(), "ended": ""})
    return life


def end(run_dir: Path, how: str) -> None:
    """Record how this life ended, a value of Life.previous: who is killed records nothing."""
    path = run_dir / "agent.json"
    _write(path, {**json.loads(path.read_text()), "ended": how})


def _is_agent(pid: int) -> bool:
    try:
        return b"tidegate" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _write(path: Path, value: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.chmod(0o600)
    temporary.replace(path)
