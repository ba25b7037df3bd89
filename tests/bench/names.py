"""`dns.*`: what a question costs that the node's DNS takes. See README.md of this directory.

One pod asks the same resolver, which is another pod: as a process of its own pod, and beside it, where no hook is. Of a
name that the mesh knows the node answers, of any other the resolver does, by way of the node.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.fair import Both
from tests.bench.processes import BenchError, Program, run, until
from tests.bench.questions import SAID
from tests.bench.scale import Effort, percentile, say
from tests.bench.topology import NAMESPACE, SERVICE, LabPods

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(Path(__file__).with_name("questions.py"))
NAMES = {"known": f"{SERVICE}.{NAMESPACE}.svc.cluster.local", "other": "www.example.com"}
RATE, ASKED, ROUNDS = 500, 1000, 5
MICROSECONDS = "us"


def measured(effort: Effort) -> list[dict[str, Any]]:
    """Both names, directly and through the mesh in turns; figures are medians of the rounds' medians and p99s."""
    pods = LabPods(ROOT / ".venv/bin/tidegate", ROOT / "tests/bench/pods.yaml")
    figures = {
        (name, part): Both(f"dns.{name}.{part}_us", MICROSECONDS, statistics.median)
        for name in NAMES
        for part in ("p50", "p99")
    }
    with ExitStack() as cleanup:
        cleanup.callback(pods.down)
        pods.up()
        resolver = Program("resolver", pods.server.command([sys.executable, TOOL, "serve", pods.server.ip]))
        cleanup.callback(resolver.stop)
        ways = [(name, side) for name in NAMES for side in ("direct", "tidegate")]
        for name, side in ways:
            until(partial(answers, pods, name, side), f"{name} is answered, {side}")
        for number in range(min(ROUNDS, effort.changes)):
            for name, side in ways:
                taken = asked(pods, name, side, ASKED)
                figures[name, "p50"].add(side, number, statistics.median(taken))
                figures[name, "p99"].add(side, number, percentile(0.99)(taken))
        resolver.check()
    for figure in figures.values():
        say(f"{figure.name}: {figure.result()['tidegate']} us, {figure.result()['direct']} us directly")
    return [figure.result() for figure in figures.values()]


def answers(pods: LabPods, name: str, side: str) -> None:
    """Raises BenchError if nobody does, or somebody else than should."""
    asked(pods, name, side, 1)


def asked(pods: LabPods, name: str, side: str, count: int) -> list[float]:
    """Microseconds of so many questions. Raises BenchError if somebody else answers than should."""
    in_mesh = side == "tidegate"
    command = [sys.executable, TOOL, "ask", pods.server.ip, NAMES[name], str(count), str(RATE)]
    answer = json.loads(run(*pods.client.command(command, in_cgroup=in_mesh)))
    wanted = pods.mesh if in_mesh and name == "known" else SAID
    if answer["said"] != wanted:
        raise BenchError(f"{NAMES[name]}, {side}: {answer['said']}, not {wanted}")
    taken: list[float] = answer["us"]
    return taken
