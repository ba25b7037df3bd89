"""The limit of open files that a process gives itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate.linux.descriptors import LEAST

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from tidegate.errors import Fatal
from tidegate.linux.descriptors import use_all_descriptors
try:
    print(use_all_descriptors("tidegate test"), *resource.getrlimit(resource.RLIMIT_NOFILE))
except Fatal as error:
    print(error)
"""


def limited(soft: int, hard: int) -> str:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.case("E3")
def test_what_a_shell_leaves_is_used() -> None:
    assert limited(128, 1000) == "1000 1000 1000"
    assert limited(LEAST, LEAST) == f"{LEAST} {LEAST} {LEAST}"


@pytest.mark.case("E3")
def test_too_few_are_told_before_anything_is_opened() -> None:
    told = limited(64, LEAST - 1)
    assert "RLIMIT_NOFILE" in told
    assert "raise it" in told
