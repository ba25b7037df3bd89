"""The benchmark on a real API server: it gives every figure and leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.processes import run
from tests.bench.scale_host import cgroup2
from tests.bench.scale_rig import PINS, TAG
from tests.bench.turns import ROOT
from tests.kube import cluster as clusters
from tests.support.eventually import HANG_SECONDS

MEASURED = {"sync_s", "cold_s", "start_mb", "slice_http_ms", "slice_tcp_ms", "change_ms", "connections", "busy_kb_s"}


def test_a_small_cluster_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    before = set(clusters.running())
    output = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--only", "scale.kube", "--quick", "-o", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10 * HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())["results"]
    results = {result["name"].removeprefix("scale.kube."): result["tidegate"] for result in found}
    assert set(results) == MEASURED | {"quiet_kb_s", "envoy_mb", "agent_mb"}
    assert all(results[name] > 0 for name in MEASURED), results
    assert set(clusters.running()) <= before
    assert TAG not in run("ip", "netns", "list")
    assert not PINS.exists()
    assert not (cgroup2() / TAG).exists()
