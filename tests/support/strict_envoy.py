"""An Envoy that refuses more than validation does, as one of another version may: for what happens then.

Its limit for expressions is one that can be set while it runs.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tidegate.envoy.bootstrap import RUNTIME

LIMIT = "re2.max_program_size.error_level"
REFUSED = "[ab]{1000}" * 25  # validation and an Envoy as it is take this expression
STRICT = 20_000  # our own listeners need some of it


@contextlib.contextmanager
def refuses_expressions(run_dir: Path) -> Iterator[None]:
    """The Envoy of the agent with this run directory refuses REFUSED from now on, until it starts anew."""
    _set(run_dir, STRICT)
    try:
        yield
    finally:
        _set(run_dir, RUNTIME[LIMIT])


def _set(run_dir: Path, value: int) -> None:
    url = f"http://envoy/runtime_modify?{LIMIT}={value}"
    socket = str(run_dir / "envoy" / "admin.sock")
    subprocess.run(["curl", "-sSf", "-X", "POST", "--unix-socket", socket, url], check=True, capture_output=True)


def always_strict(directory: Path) -> Path:
    """A program for TIDEGATE_ENVOY that does the same from its start on, and after each restart."""
    path = directory / "strict-envoy"
    envoy = Path(__file__).parents[2] / ".venv" / "bin" / "envoy"
    path.write_text(f"""#!/bin/sh
# $2 is the bootstrap
sed -i 's/"{LIMIT}": [0-9]*/"{LIMIT}": {STRICT}/' "$2"
exec {envoy} "$@"
""")
    path.chmod(0o755)
    return path
