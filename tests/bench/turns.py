"""Paths compete: for each placement and load the contestants take turns, A B C D, A B C D."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.contestants import Contestant
from tests.bench.loads import Load, figures
from tests.bench.processes import BenchError, pin, run, until
from tests.bench.report import PLACEMENTS, Run
from tests.bench.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "bench"
BIN = ROOT / ".venv" / "bin"
PROBE_SECONDS = 0.05


class NothingCounted(BenchError):
    """The load ran to its end without one whole operation."""


@contextmanager
def started(topology: Topology, contestants: Sequence[Contestant], loads: Sequence[Load]) -> Iterator[None]:
    """The contestants, each of which has carried each of the loads; stopped afterwards. The topology is up."""
    with ExitStack() as cleanup:
        work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        for contestant in contestants:
            cleanup.callback(contestant.stop)
            contestant.start(work)
        for contestant in contestants:
            for load in loads:
                until(lambda c=contestant, one=load: probe(topology, c, one), f"{contestant.name} {load.name}")  # type: ignore[misc]
        yield


def measured(
    topology: Topology, contestants: Sequence[Contestant], loads: Sequence[Load], rounds: int, seconds: float
) -> list[Run]:
    """Every figure of these loads on each path; all of it is started."""
    runs: list[Run] = []
    everywhere = os.sched_getaffinity(0)
    for placement in PLACEMENTS:
        # CPU 0 takes most device interrupts: the single core is another one where there is one.
        cpus = {max(everywhere)} if placement == "1core" else everywhere
        pin(topology.pids().union(*(contestant.pids() for contestant in contestants)), cpus)
        for load in loads:
            for number in range(rounds):
                for contestant in contestants:
                    values = counted(topology, contestant, load, seconds, cpus)
                    runs += [
                        Run(contestant.name, placement, metric.name, number, values[metric.key])
                        for metric in load.metrics
                    ]
            print(f"bench: {load.name}.{placement} done", file=sys.stderr, flush=True)
    return runs


def probe(topology: Topology, contestant: Contestant, load: Load) -> None:
    """One very short run: does the path work?"""
    contestant.check()
    once(topology, contestant, load, PROBE_SECONDS, os.sched_getaffinity(0))


def counted(topology: Topology, contestant: Contestant, load: Load, seconds: float, cpus: set[int]) -> dict[str, float]:
    """One run that counted something: on a busy machine a short one may not get its turn, so it is made longer."""
    for longer in (1, 4, 16):
        try:
            return once(topology, contestant, load, longer * seconds, cpus)
        except NothingCounted as error:
            last = error
    raise last


def once(topology: Topology, contestant: Contestant, load: Load, seconds: float, cpus: set[int]) -> dict[str, float]:
    """One run of one contestant."""
    host, base = contestant.address()
    command = load.command(TOOLS, host, base + load.port, seconds)
    where = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
    contestant.activate()
    try:
        output = run(*topology.client.command(where, in_cgroup=contestant.in_mesh))
    except BenchError as error:
        contestant.check()
        raise BenchError(f"{contestant.name} {load.name}: {error}") from error
    finally:
        contestant.deactivate()
    try:
        return dict(figures(output))
    except ValueError as error:
        raise NothingCounted(f"{contestant.name} {load.name}: {error}") from error
