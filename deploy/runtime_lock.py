"""Print the part of requirements.lock that the agent needs to run: without linters and test tools, hashes kept.

Run with the interpreter of `make setup`: what depends on what is read from the packages that are installed there.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(requirement: str) -> str:
    """The package's name as the lock file writes it."""
    found = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def closure(names: Iterable[str]) -> set[str]:
    """The packages and everything that they need, as far as it is installed; extras are left out."""
    wanted: set[str] = set()
    queue = [normal(name) for name in names]
    while queue:
        name = queue.pop()
        if name in wanted:
            continue
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue  # for another platform or interpreter
        wanted.add(name)
        queue += [normal(need) for need in needs if "extra ==" not in need]
    return wanted


def main() -> None:
    top = Path(__file__).resolve().parents[1]
    wanted = closure(tomllib.loads((top / "pyproject.toml").read_text())["project"]["dependencies"])
    keep = False
    for line in (top / "requirements.lock").read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            keep = normal(line) in wanted
        if keep and not line.lstrip().startswith("#"):
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
