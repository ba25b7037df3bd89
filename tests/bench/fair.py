"""What one pod can take from another: fair.*, stuck.* of bench.json. See README.md of this directory.

Direct and meshed take turns on the same pods, client greedy and neighbour not. Who dials directly is outside the mesh's
cgroup.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.contestants import SERVER_PORT
from tests.bench.loads import DEAF, ECHO, HTTP, LOADS, ONCE, SINK, SPOUT
from tests.bench.processes import BenchError, Program, run, until
from tests.bench.scale import MS, Effort, say
from tests.bench.topology import MESH_PORT, LabPods, Pod

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "bench"
FLOWS = (16, 64, 256)
STUCK = {"down": (SPOUT, 300), "up": (DEAF, 200)}
MIB = "MiB"
SETTLED = 0.02  # a sum of memory that changed less between two looks is the sum
EMPTY_MIB = 0.5  # what idle sockets hold
PACE = 0.25  # seconds between two looks
_SKMEM = re.compile(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)")


class Sides:
    """The two ways to the same server, and who dials."""

    def __init__(self, pods: LabPods) -> None:
        self.pods = pods
        self.of: dict[str, tuple[bool, str, int]] = {
            "direct": (False, pods.server.ip, SERVER_PORT),
            "tidegate": (True, pods.mesh, MESH_PORT),
        }

    def command(self, side: str, pod: Pod, tool: str, mode: str, room: int, *rest: object) -> list[str]:
        """A load tool in a pod, to a room of the server."""
        in_mesh, host, base = self.of[side]
        line = [str(TOOLS / tool), mode, host, str(base + room), *map(str, rest)]
        return pod.command(line, in_cgroup=in_mesh)


class Both:
    """One figure of both sides."""

    def __init__(self, name: str, unit: str, of: Callable[[list[float]], float]) -> None:
        self.name, self.unit, self._of = name, unit, of
        self._runs: list[dict[str, Any]] = []

    def add(self, side: str, number: int, value: float) -> None:
        self._runs.append({"contestant": side, "round": number, "value": round(value, 3)})

    def result(self) -> dict[str, Any]:
        """As report.result() writes it."""
        values = {
            side: [run["value"] for run in self._runs if run["contestant"] == side] for side in ("direct", "tidegate")
        }
        figure = {side: round(self._of(found), 3) for side, found in values.items()}
        return {
            "name": self.name,
            "unit": self.unit,
            "higher_is_better": False,
            **figure,
            "peers": {},
            "ratio_to_direct": round(figure["tidegate"] / figure["direct"], 3) if figure["direct"] else None,
            "spread": {side: round((max(found) - min(found)) / figure[side], 3) for side, found in values.items()},
            "runs": self._runs,
        }


def measured(effort: Effort) -> list[dict[str, Any]]:
    """All of them."""
    rounds, seconds = (5, 3.0) if effort.changes > 5 else (1, 1.0)
    with running() as sides:
        figures = [beside_bulk(sides, count, rounds, seconds) for count in FLOWS]
        figures += [stuck(sides, way, min(3, rounds)) for way in STUCK]
        figures += beside_greedy(sides, rounds, seconds)
    return [figure.result() for figure in figures]


@contextmanager
def running() -> Iterator[Sides]:
    """The lab's pods, and beside the server's own programs those for whoever comes directly; nothing is left."""
    pods = LabPods(ROOT / ".venv" / "bin" / "tidegate", ROOT / "tests/bench/pods.yaml")
    programs: list[Program] = []
    try:
        pods.up()
        programs.append(Program("l4server", pods.server.command([str(TOOLS / "l4server"), str(SERVER_PORT)])))
        sides = Sides(pods)
        until(partial(answers, sides), "the server answers")
        yield sides
    finally:
        for program in programs:
            program.stop()
        pods.down()


def answers(sides: Sides) -> None:
    """Raises BenchError while a server is not there yet."""
    for side in sides.of:
        run(*sides.command(side, sides.pods.neighbour, "l4load", "rr", ECHO, 0.05, 64))


def beside_bulk(sides: Sides, count: int, rounds: int, seconds: float) -> Both:
    """The longest round trip of 64 bytes of one pod while another pours so many streams into the same server."""
    figure = Both(f"fair.{count}.max_ms", MS, statistics.median)
    for number in range(rounds):
        for side in sides.of:
            crowd = sides.command(side, sides.pods.client, "crowd", "bulk", SINK, 1.5 * seconds, count)
            echo = sides.command(side, sides.pods.neighbour, "l4load", "rr", ECHO, seconds, 64)
            with held(crowd):
                figure.add(side, number, json.loads(run(*echo))["max_us"] / 1000)
    say(f"{figure.name}: {shown(figure)}")
    return figure


def stuck(sides: Sides, way: str, rounds: int) -> Both:
    """Kernel memory of all sockets in both pods while nobody reads: the relay's are in the client's."""
    room, count = STUCK[way]
    figure = Both(f"stuck.{way}.tcp_mib", MIB, statistics.median)
    for number in range(rounds):
        for side in sides.of:
            until(partial(emptied, sides), "what the round before held is gone")
            with held(sides.command(side, sides.pods.client, "crowd", way, room, 60, count)) as crowd:
                figure.add(side, number, settled(sides, crowd))
    say(f"{figure.name}: {shown(figure)}")
    return figure


def beside_greedy(sides: Sides, rounds: int, seconds: float) -> list[Both]:
    """What a neighbour gets of the mesh beside a pod that takes all that it gets, and (as `direct`) without it."""
    loads = {
        "echo": sides.command("tidegate", sides.pods.neighbour, "l4load", "rr", ECHO, seconds, 64),
        "conn": sides.command("tidegate", sides.pods.neighbour, "l4load", "conn", ONCE, seconds),
        "http": sides.pods.neighbour.command(
            LOADS[-2].command(TOOLS, sides.pods.mesh, MESH_PORT + HTTP, seconds), in_cgroup=True
        ),
    }
    figures = {name: Both(f"fair.greedy.{name}_ms", MS, statistics.median) for name in loads}
    for number in range(rounds):
        for side in sides.of:
            with greedy(sides) if side == "tidegate" else nullcontext():
                for name, command in loads.items():
                    figures[name].add(side, number, json.loads(run(*command))["p99_us"] / 1000)
    for figure in figures.values():
        say(f"{figure.name}: {shown(figure)}")
    return list(figures.values())


@contextmanager
def greedy(sides: Sides) -> Iterator[None]:
    """tests/support/greedy.py in pod client, from when it has all under way."""
    words = ["/usr/bin/python3", str(ROOT / "tests/support/greedy.py"), sides.pods.mesh, "server.bench:7011"]
    command, pipe = sides.pods.client.command(words, in_cgroup=True), subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            if not any(line == "all\n" for line in process.stderr):
                raise BenchError(f"the greedy pod ended with {process.wait()}")
            yield
        finally:
            process.kill()


@contextmanager
def held(command: list[str]) -> Iterator[Program]:
    """A crowd for a while."""
    program = Program("crowd", command)
    try:
        yield program
    finally:
        program.stop()


def settled(sides: Sides, crowd: Program) -> float:
    """The memory once it grows no more. Raises BenchError if it does not come to rest."""
    before = 0.0
    for _ in range(200):
        time.sleep(PACE)
        crowd.check()
        now = tcp_mib(sides)
        if now > 1 and abs(now - before) <= SETTLED * now:
            return now
        before = now
    raise BenchError(f"memory of the stuck connections does not come to rest: {before:.0f} MiB")


def emptied(sides: Sides) -> None:
    """Raises BenchError while sockets hold more than next to nothing: a server notices a reset in its own time."""
    if (now := tcp_mib(sides)) > EMPTY_MIB:
        raise BenchError(f"sockets still hold {now:.0f} MiB")


def tcp_mib(sides: Sides) -> float:
    """Bytes to be read, to be sent and set aside of every TCP socket in the two pods, in MiB."""
    text = "".join(run(*pod.command(["ss", "-Htmn"])) for pod in (sides.pods.client, sides.pods.server))
    return sum(sum(map(int, sizes)) for sizes in _SKMEM.findall(text)) / (1 << 20)


def shown(figure: Both) -> str:
    """For the terminal."""
    result = figure.result()
    return f"direct {result['direct']}, tidegate {result['tidegate']} {figure.unit}"
