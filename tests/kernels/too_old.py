"""On a kernel that lacks what Tidegate needs: a reason in one line, and nothing is loaded or left (tests/kernels)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LACKING = "netns cookie in sockops"


def tidegate(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tidegate", *args], capture_output=True, text=True, check=False)


def test_doctor_names_what_is_missing() -> None:
    done = tidegate("doctor", "-o", "json")
    assert done.returncode == 1, done.stderr
    features = json.loads(done.stdout)["features"]
    missing = {feature["feature"] for feature in features if feature["needed"] and not feature["ok"]}
    assert LACKING in missing
    assert missing < {feature["feature"] for feature in features}, "the rest was looked at, too"


def test_the_agent_says_why_in_one_line_before_anything_is_loaded(tmp_path: Path) -> None:
    pins, config = Path("/sys/fs/bpf/tidegate-too-old"), tmp_path / "config"
    config.mkdir()
    places = ["--config", f"file:{config}", "--run-dir", str(tmp_path / "run"), "--bpffs", str(pins)]
    done = tidegate("agent", "--node", "old", *places, "--admin-port", "0", "--metrics-port", "0")
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tidegate: Linux {os.uname().release}: lacks "), line
    assert f"{LACKING} (bpf_get_netns_cookie, since Linux 5.15)" in line
    assert not pins.exists() or not list(pins.iterdir())
