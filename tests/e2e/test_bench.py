"""`make bench` on lab pods, shortened: every name for all four contestants, in the order that is expected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.processes import run
from tests.bench.topology import LAB
from tests.support.lab import ROOT

NAMES = [f"l4.samenode.{kind}" for kind in ("rr64", "rr16k", "bulk", "conn")] + ["l7.rps", "l7.p50", "l7.p99"]


def test_all_contestants_are_measured_and_the_sidecar_model_is_beaten(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    words = ["--rounds", "3", "--seconds", "0.15", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = {result["name"]: result for result in json.loads(output.read_text())["results"]}
    assert set(results) == {f"{name}.{placement}" for name in NAMES for placement in ("1core", "free")}
    for name, result in results.items():
        figures = [result["direct"], result["tidegate"], *result["peers"].values()]
        assert all(figure > 0 for figure in figures), name
        assert len(result["runs"]) == 4 * 3, name
    # Ratios within one run, on one core: they hold on a slow or busy machine too, where microseconds would not.
    requests, round_trip = results["l7.rps.1core"], results["l4.samenode.rr64.1core"]
    assert requests["tidegate"] >= 1.7 * requests["peers"]["envoy2_iptables"]
    assert round_trip["tidegate"] <= 0.75 * round_trip["peers"]["envoy2_iptables"]
    assert f"tgl-{LAB}-" not in run("ip", "netns", "list")
