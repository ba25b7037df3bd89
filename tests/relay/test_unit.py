"""C unit tests (unit/*_test.c) under the address, undefined behaviour and thread sanitizers."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS

HERE = Path(__file__).resolve().parent
ENGINE = HERE.parents[1] / "agent" / "relay"
SOURCES = sorted(path for path in ENGINE.glob("*.c") if path.name != "main.c")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion"]
SANITIZERS = ["address,undefined", "thread"]
# fair_test: a question does not wait for who pours. loop_test: lanes take turns.
FAIR = pytest.mark.case("B5")
TESTS = [
    pytest.param(path, marks=FAIR if path.stem in ("fair_test", "loop_test") else (), id=path.stem)
    for path in sorted(HERE.glob("unit/*_test.c"))
]


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("test", TESTS)
def test_c(test: Path, sanitizer: str, tmp_path: Path) -> None:
    program = tmp_path / test.stem
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-pthread", *WARNINGS]
    sanitize = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    built = subprocess.run(
        [*compiler, *flags, *sanitize, "-o", program, test, *SOURCES], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    # -R: the thread sanitizer of gcc 12 wants its shadow memory at fixed addresses, which randomization may take.
    ran = subprocess.run(["setarch", "-R", program], capture_output=True, text=True, check=False, timeout=HANG_SECONDS)
    assert ran.returncode == 0, ran.stderr
