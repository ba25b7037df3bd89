"""What whoever starts an agent leaves to it does not decide how it runs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, resource, signal, sys
from pathlib import Path
from tidegate.linux.inherited import shed_inherited
shed_inherited("tidegate test")
made = Path(sys.argv[1])
made.mkdir(mode=0o755)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), oct(made.stat().st_mode & 0o777), soft == hard)
"""


def odd() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    os.umask(0o777)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 300), hard))


@pytest.mark.case("E3", "E7")
def test_signals_arrive_and_files_are_as_they_are_meant(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "made")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=odd)
    assert done.stdout.split() == ["0", "0o755", "True"]
