"""`nagle.p50_ms`: a server that answers in two sends, asked 200 times a second on new connections, meshed and not.

Envoy keeps its connections to the server, and on a kept one the second send would wait for a delayed acknowledgement.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.loads import TWO
from tests.bench.processes import BenchError, Program, run, until
from tests.bench.report import Run
from tests.bench.scale import Effort
from tests.bench.topology import MESH_PORT, LabPods, Pod

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(Path(__file__).with_name("two_sends.py"))
RATE, REQUESTS, ROUNDS = 200, 200, 5
PORT = MESH_PORT + TWO


def measured(effort: Effort) -> list[dict[str, Any]]:
    """Rounds take turns; a figure is the median of the rounds' medians."""
    pods = LabPods(ROOT / ".venv/bin/tidegate", ROOT / "tests/bench/pods.yaml")
    runs: list[Run] = []
    with ExitStack() as cleanup:
        cleanup.callback(pods.down)
        pods.up()
        server = Program("two sends", pods.server.command([sys.executable, TOOL, "serve", str(PORT)], in_cgroup=True))
        cleanup.callback(server.stop)
        paths = {"direct": (pods.server.ip, False), "tidegate": (pods.mesh, True)}
        for host, in_mesh in paths.values():
            until(partial(answers, pods.client, host, in_mesh), f"{host} answers")
        for number in range(min(ROUNDS, effort.changes)):
            for name, (host, in_mesh) in paths.items():
                value = statistics.median(asked(pods.client, host, in_mesh, REQUESTS))
                runs.append(Run(name, "free", "nagle.p50_ms", number, round(value, 3)))
        server.check()
    return [result(runs)]


def answers(client: Pod, host: str, in_mesh: bool) -> None:
    """Raises BenchError if it does not."""
    asked(client, host, in_mesh, 1)


def asked(client: Pod, host: str, in_mesh: bool, count: int) -> list[float]:
    """Milliseconds of each request."""
    command = [sys.executable, TOOL, "ask", host, str(PORT), str(count), str(RATE)]
    taken: list[float] = json.loads(run(*client.command(command, in_cgroup=in_mesh)))
    if len(taken) != count:
        raise BenchError(f"{host}: {len(taken)} of {count} requests")
    return taken


def result(runs: list[Run]) -> dict[str, Any]:
    """As report.result() writes it."""
    by = {name: [r.value for r in runs if r.contestant == name] for name in ("direct", "tidegate")}
    direct, tidegate = (round(statistics.median(values), 3) for values in by.values())
    return {
        "name": "nagle.p50_ms",
        "unit": "ms",
        "higher_is_better": False,
        "tidegate": tidegate,
        "direct": direct,
        "peers": {},
        "ratio_to_direct": round(tidegate / direct, 3),
        "spread": {n: round((max(v) - min(v)) / statistics.median(v), 3) for n, v in by.items()},
        "runs": [{"contestant": r.contestant, "round": r.round, "value": r.value} for r in runs],
    }
