"""`make run`: what a new user sees first, point by point, on a lab of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOUR = Path(__file__).resolve().parents[2] / "samples" / "tour.py"
CLAIMS = [
    "X-Forwarded-For",
    "75/25 split",
    "end-user: jason",
    "redirect",
    "rewrite",
    "timeout",
    "retries",
    "fault: delay",
    "fault: abort",
    "explain names file and line",
    "broken YAML is refused",
    "kill -9 of Envoy",
    "kill -9 of the agent",
    "no packet filter",
    "plain TCP",
    "/productpage",
    "counted 10 of 10 requests",
]


def test_every_point_of_the_tour_holds() -> None:
    environ = {**os.environ, "ONCE": "1", "TIDEGATE_LAB": "tour"}
    command: list[str | Path] = [sys.executable, TOUR]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    held = [line for line in done.stdout.splitlines() if line.startswith("  ok ")]
    missing = [claim for claim in CLAIMS if not any(claim in line for line in held)]
    assert not missing, done.stdout
    assert not Path("/run/tidegate-lab/tour").exists()
