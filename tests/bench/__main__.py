"""Runs the benchmark: `python -m tests.bench [--only NAME]... [--quick] [--pods lab|own] [--rounds N] [-o FILE]`.

NAME is the beginning of a figure's name up to a dot (l4, scale.1k, recover): the group that it belongs to is measured,
and takes its place beside what bench.json already has of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tests.bench import fair, nagle, names, promises, scale, scale_config
from tests.bench.contestants import THREADS, Contestant, Direct, HAProxy, Tidegate
from tests.bench.loads import LOADS, Load, figures
from tests.bench.processes import BenchError, alone, pin, run, until
from tests.bench.report import FAIR, NETWORK, PEERS, PLACEMENTS, PROMISES, Run, chosen, document, merged
from tests.bench.sidecars import Sidecars
from tests.bench.topology import LabPods, OwnPods, Topology


class NothingCounted(BenchError):
    """The load ran to its end without one whole operation."""


ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "bench"
BIN = ROOT / ".venv" / "bin"
PROBE_SECONDS = 0.05


def main() -> int:
    """Exit 0 when every figure was measured, 1 with the reason otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 short rounds: a smoke test, not a measurement")
    parser.add_argument("--pods", choices=("lab", "own"), default="lab", help="own: two bare pods, without tidegate")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--only", action="append", default=[], help="a group of figures, e.g. scale.1k; default: all")
    options = parser.parse_args()
    try:
        wanted = [NETWORK] if options.pods == "own" else chosen(options.only, list(GROUPS))
    except ValueError as error:
        parser.error(str(error))
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = options.seconds or (0.2 if options.quick else 0.7)
    signal.signal(signal.SIGTERM, stop)
    topology: Topology = (
        OwnPods() if options.pods == "own" else LabPods(BIN / "tidegate", ROOT / "tests/bench/pods.yaml")
    )
    facts = machine(rounds, seconds, options.quick)
    for group in wanted:
        try:
            if group == NETWORK:
                runs = measured(topology, rounds, seconds)
                results = document(facts, [metric for load in LOADS for metric in load.metrics], runs)["results"]
            else:
                with alone():
                    results = GROUPS[group](scale.QUICK if options.quick else scale.FULL)
        except BenchError as error:
            print(f"bench: {group}: {error}", file=sys.stderr)
            return 1
        bench = merged(known(options.output), facts, results)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(bench, indent=1) + "\n")
    print_table(bench)
    return 0


GROUPS: dict[str, Callable[[scale.Effort], list[dict[str, Any]]]] = {
    NETWORK: lambda _: [],  # takes pods and rounds as well: see main()
    FAIR: fair.measured,
    PROMISES: promises.measured,
    "nagle": nagle.measured,
    "dns": names.measured,
    **{f"scale.{name}": partial(scale.measured, size) for name, size in scale_config.SIZES.items()},
}


def known(path: Path) -> dict[str, Any]:
    """What was measured before; nothing if that is no bench.json."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def stop(*_: object) -> NoReturn:
    """SIGTERM unwinds like Ctrl-C, so that everything is removed."""
    raise KeyboardInterrupt


def measured(topology: Topology, rounds: int, seconds: float) -> list[Run]:
    """Every figure: per placement and load, the contestants take turns (A B C D, A B C D, ...)."""
    runs: list[Run] = []
    everywhere = os.sched_getaffinity(0)
    with ExitStack() as cleanup:
        cleanup.enter_context(alone())
        cleanup.callback(topology.down)
        topology.up()
        work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        contestants: list[Contestant] = [
            Direct(topology, TOOLS),
            Sidecars(topology, BIN / "envoy"),
            HAProxy(topology),
        ]
        if topology.mesh:
            contestants.insert(1, Tidegate(topology))
        for contestant in contestants:
            cleanup.callback(contestant.stop)
            contestant.start(work)
        for contestant in contestants:
            for load in LOADS:
                until(lambda c=contestant, one=load: probe(topology, c, one), f"{contestant.name} {load.name}")  # type: ignore[misc]
        for placement in PLACEMENTS:
            # CPU 0 takes most device interrupts: the single core is another one where there is one.
            cpus = {max(everywhere)} if placement == "1core" else everywhere
            pin(topology.pids().union(*(contestant.pids() for contestant in contestants)), cpus)
            for load in LOADS:
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


def machine(rounds: int, seconds: float, quick: bool) -> dict[str, Any]:
    """What the figures depend on."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), "unknown CPU")
    return {
        "kernel": platform.release(),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "envoy": run(BIN / "envoy", "--version").strip().rpartition("version: ")[2],
        "haproxy": run("haproxy", "-v").split()[2],
        "proxy_threads": THREADS,
        "rounds": rounds,
        "seconds": seconds,
        "quick": quick,
    }


def print_table(bench: dict[str, Any]) -> None:
    """The medians, for the terminal."""
    print(f"{'':26} {'direct':>12} {'tidegate':>12} {'envoy2_ipt.':>12} {'haproxy':>12}  unit")
    for result in bench["results"]:
        peers = result["peers"] or dict.fromkeys(PEERS)
        values = [result["direct"], result["tidegate"], *peers.values()]
        shown = " ".join(f"{'-' if value is None else format(value, '.1f'):>12}" for value in values)
        print(f"{result['name']:26} {shown}  {result['unit']}")


if __name__ == "__main__":
    sys.exit(main())
