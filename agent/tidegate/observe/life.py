"""What a fresh agent knows of its predecessor: how often it started and whether the last one ended on purpose."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import Rejected


@dataclass(frozen=True, slots=True)
class Life:
    """starts counts lives in this run directory; previous is none, stopped or killed."""

    starts: int
    previous: str


def require_private(run_dir: Path) -> None:
    """Raise Rejected if somebody else could put files or links into the run directory, or take our sockets' names."""
    status = run_dir.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Rejected(
            f"run directory {run_dir}",
            f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o777:o}, so others may write into it",
            f"chown root {run_dir} && chmod 700 {run_dir}",
        )


def begin(run_dir: Path) -> Life:
    """Record a start. Raises Rejected if another live agent owns the run directory."""
    path = run_dir / "agent.json"
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"starts": 0, "pid": 0, "ended": None}
    pid = int(before["pid"])
    if before["ended"] is False and pid != os.getpid() and _is_agent(pid):
        raise Rejected(
            f"run directory {run_dir}",
            f"belongs to the running agent with pid {pid}",
            "stop it or use another --run-dir",
        )
    previous = {None: "none", True: "stopped", False: "killed"}[before["ended"]]
    life = Life(int(before["starts"]) + 1, previous)
    _write(path, {"starts": life.starts, "pid": os.getpid(), "ended": False})
    return life


def end(run_dir: Path) -> None:
    """Record that this life ended on purpose."""
    path = run_dir / "agent.json"
    _write(path, {**json.loads(path.read_text()), "ended": True})


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
