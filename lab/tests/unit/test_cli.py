"""What the commands of the lab load."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_in_a_pod_does_not_wait_for_what_reads_manifests() -> None:
    script = "import sys, tidegate_lab.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "google", "grpc", "rich.console", "yaml", "tidegate.config", "tidegate.model.mesh"}
    assert sorted(heavy & set(done.stdout.split())) == []
