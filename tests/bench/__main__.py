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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tests.bench import fair, gateway, nagle, names, network, promises, scale, scale_config, sni
from tests.bench.contestants import THREADS
from tests.bench.processes import BenchError, alone, run
from tests.bench.report import FAIR, GATEWAY, NETWORK, PEERS, PROMISES, TLS, chosen, merged
from tests.bench.topology import LabPods, OwnPods, Topology
from tests.bench.turns import BIN, ROOT


@dataclass(frozen=True, slots=True)
class Asked:
    """How much of what is wanted."""

    topology: Topology  # of the paths between two pods
    rounds: int
    seconds: float
    effort: scale.Effort


def at_scale(size: scale_config.Size, asked: Asked) -> list[dict[str, Any]]:
    """A group of figures of its own for each size."""
    return scale.measured(size, asked.effort)


def in_a_cluster(effort: scale.Effort) -> list[dict[str, Any]]:
    """On a real API server, which only this group needs."""
    from tests.bench import kube_scale

    size = scale_config.SIZES["smoke" if effort is scale.QUICK else "10k"]
    return kube_scale.measured(size, effort)


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
    asked = Asked(topology, rounds, seconds, scale.QUICK if options.quick else scale.FULL)
    for group in wanted:
        try:
            with alone():
                results = GROUPS[group](asked)
        except BenchError as error:
            print(f"bench: {group}: {error}", file=sys.stderr)
            return 1
        bench = merged(known(options.output), facts, results)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(bench, indent=1) + "\n")
    print_table(bench)
    return 0


GROUPS: dict[str, Callable[[Asked], list[dict[str, Any]]]] = {
    NETWORK: lambda asked: network.measured(asked.topology, asked.rounds, asked.seconds),
    GATEWAY: lambda asked: gateway.measured(asked.rounds, asked.seconds),
    TLS: lambda asked: sni.measured(asked.rounds, asked.seconds),
    FAIR: lambda asked: fair.measured(asked.effort),
    PROMISES: lambda asked: promises.measured(asked.effort),
    "nagle": lambda asked: nagle.measured(asked.effort),
    "dns": lambda asked: names.measured(asked.effort),
    **{f"scale.{name}": partial(at_scale, size) for name, size in scale_config.SIZES.items()},
    "scale.kube": lambda asked: in_a_cluster(asked.effort),
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
    columns = (*PEERS, gateway.PEER)
    print(f"{'':26} {'direct':>12} {'tidegate':>12} {' '.join(f'{name[:12]:>12}' for name in columns)}  unit")
    for result in bench["results"]:
        values = [result["direct"], result["tidegate"], *(result["peers"].get(name) for name in columns)]
        shown = " ".join(f"{'-' if value is None else format(value, '.1f'):>12}" for value in values)
        print(f"{result['name']:26} {shown}  {result['unit']}")


if __name__ == "__main__":
    sys.exit(main())
