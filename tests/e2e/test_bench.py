"""`make bench` on lab pods, shortened: every name for all contestants, in the order that is expected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.bench.processes import run
from tests.bench.topology import LAB
from tests.support.eventually import HANG_SECONDS
from tests.support.lab import ROOT

NAMES = [f"l4.samenode.{kind}" for kind in ("rr64", "rr16k", "bulk", "conn")] + ["l7.rps", "l7.p50", "l7.p99"]
ORDERS = {
    "l4": (NAMES, ["direct", "tidegate", "envoy2_iptables", "haproxy"]),
    "gateway": (["gateway.p50", "gateway.p99", "gateway.rps"], ["direct", "tidegate", "envoy_static"]),
    "tls": (["tls.sni.conn"], ["direct", "tidegate", "haproxy"]),
}


@pytest.mark.parametrize("only", ORDERS)
def test_all_contestants_are_measured_in_turns(tmp_path: Path, only: str) -> None:
    names, order = ORDERS[only]
    output = tmp_path / "bench.json"
    words = ["--only", only, "--rounds", "3", "--seconds", "0.15", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10 * HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = {result["name"]: result for result in json.loads(output.read_text())["results"]}
    assert set(results) == {f"{name}.{placement}" for name in names for placement in ("1core", "free")}
    for name, result in results.items():
        figures = [result["direct"], result["tidegate"], *result["peers"].values()]
        assert all(figure > 0 for figure in figures), name
        assert [run["contestant"] for run in result["runs"]] == order * 3, name
    assert f"tgl-{LAB}-" not in run("ip", "netns", "list")
