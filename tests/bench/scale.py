"""What a large cluster costs one node: scale.{1k,10k}.* of bench.json. See README.md of this directory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tests.bench import scale_config as config
from tests.bench.processes import BenchError
from tests.bench.scale_rig import Rig, Status, Watcher

SECONDS, MS, MB = "s", "ms", "MB"
AT_ONCE = 10  # pods that come before they go


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each thing is measured."""

    colds: int = 3
    changes: int = 20
    firsts: int = 20
    adds: int = 100


FULL, QUICK = Effort(), Effort(colds=1, changes=3, firsts=3, adds=6)


@dataclass(slots=True)
class Figure:
    """One entry of `results`: every run, and how one figure comes from them."""

    name: str
    unit: str
    of: Callable[[Sequence[float]], float]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, value: float, **more: Any) -> None:
        self.runs.append({"contestant": "tidegate", "round": len(self.runs), "value": round(value, 3), **more})

    def result(self) -> dict[str, Any]:
        """As report.result() writes it; nothing is compared with."""
        values = [run["value"] for run in self.runs]
        figure = round(self.of(values), 3) if values else None
        spread = round((max(values) - min(values)) / figure, 3) if figure else None
        return {
            "name": self.name,
            "unit": self.unit,
            "higher_is_better": False,
            "tidegate": figure,
            "direct": None,
            "peers": {},
            "ratio_to_direct": None,
            "spread": {"tidegate": spread} if spread is not None else {},
            "runs": self.runs,
        }


def percentile(share: float) -> Callable[[Sequence[float]], float]:
    """The smallest value that at least this share of all do not exceed."""

    def of(values: Sequence[float]) -> float:
        ordered = sorted(values)
        return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]

    return of


def measured(size: config.Size, effort: Effort) -> list[dict[str, Any]]:
    """All figures of one size."""
    name = f"scale.{size.name}"
    with running(size, name) as rig:
        figures = [
            colds(rig, name, effort.colds),
            *changes(rig, name, effort.changes),
            first_requests(rig, name, effort.firsts),
            *enrolments(rig, name, effort.adds),
            *memory(rig, name),
        ]
    return [figure.result() for figure in figures]


@contextmanager
def running(size: config.Size, name: str) -> Iterator[Rig]:
    """A node of that size with its pods enrolled and everything in force; nothing is left."""
    rig = Rig(size)
    try:
        say(f"{name}: {size.services} services, {size.pods} pods")
        rig.up()
        rig.start_agent()
        rig.wait("the agent comes up", lambda status: status)
        rig.enrol()
        whole(rig)
        yield rig
    finally:
        rig.down()


def whole(rig: Rig) -> tuple[float, Status]:
    """Until everything is in force: Envoy answered all that was published, every pod is enrolled."""

    def reached(status: Status) -> bool:
        xds, applied = status["envoy"]["xds"], status["applied"]["generation"]
        enrolled = sum(bool(pod["enrolled"]) for pod in status["pods"])
        acked = xds["applied"] >= xds["published"] >= applied > 0
        return bool(status["healthy"] and acked and enrolled >= rig.size.pods)

    return rig.wait("everything is in force", reached)


def colds(rig: Rig, name: str, times: int) -> Figure:
    """From the agent's start, without an Envoy and with all pods on record, to Envoy's last answer."""
    figure = Figure(f"{name}.cold_s", SECONDS, statistics.median)
    for _ in range(times):
        rig.end()
        begun = rig.start_agent()
        done, _ = whole(rig)
        figure.add(done - begun, envoy_mb=pss(rig.pids("envoy")), agent_mb=pss(agents(rig)))
        say(f"{figure.name}: {done - begun:.2f} s ({len(figure.runs)}/{times})")
    return figure


def changes(rig: Rig, name: str, times: int) -> list[Figure]:
    """From the file's new name to the first answer that carries the change, on a connection that is kept."""
    wire = Figure(dotted(name, "change_ms", "change.in_force_ms"), MS, statistics.median)
    told = Figure(dotted(name, "change_told_ms", "change.told_ms"), MS, statistics.median)
    numbers = spread_over(config.with_rule(rig.size), times)
    watcher = rig.watcher()
    for change, number in enumerate(numbers, 1):
        url = [config.vip(number), config.PORT, config.host(number)]
        watcher.tell(do="until", url=url, header=config.CHANGED, value=str(change))
        watcher.answer()
        before = rig.status()["applied"]["generation"]
        begun = time.monotonic()
        config.put(rig.work / "config", number, change)
        answer = watcher.answer()
        at, _ = rig.wait("status tells it", lambda s, old=before: s["applied"]["generation"] > old)  # type: ignore[misc]
        wire.add((answer["at"] - begun) * 1000, requests=answer["requests"])
        told.add((at - begun) * 1000)
        whole(rig)
        say(f"{wire.name}: {wire.runs[-1]['value']:.0f} ms ({change}/{times})")
    return [wire, told]


def dotted(name: str, part: str, alone: str) -> str:
    """scale.1k.change_ms, or by what it is called where there is no size (promises.py)."""
    return f"{name}.{part}" if name else alone


def first_requests(rig: Rig, name: str, times: int) -> Figure:
    """A new connection and its request to a service that no pod of this node has used yet."""
    figure = Figure(f"{name}.first_ms", MS, statistics.median)
    unused = [number for number in range(rig.size.services) if number % config.RULE_EVERY]
    watcher = rig.watcher()
    for number in spread_over(unused, times):
        answer = first(watcher, number)
        figure.add(answer["first_ms"], again_ms=round(answer["again_ms"], 3))
    say(f"{figure.name}: {figure.result()['tidegate']} ms")
    return figure


def first(watcher: Watcher, number: int) -> dict[str, float]:
    watcher.tell(do="first", url=[config.vip(number), config.PORT, config.host(number)])
    return dict(watcher.answer())


def enrolments(rig: Rig, name: str, times: int) -> list[Figure]:
    """CNI ADD as the runtime waits for it, of one pod after the other; in between they go."""
    values: list[float] = []
    spare = cycle(range(rig.size.pods, rig.size.pods + rig.size.spare))
    while len(values) < times:
        now = list(islice(spare, min(AT_ONCE, rig.size.spare, times - len(values))))
        for number in now:
            values.append(rig.cni("ADD", number))
            say(f"{name} CNI ADD: {values[-1]:.0f} ms ({len(values)}/{times})", often=len(values) % 10 != 0)
        for number in now:
            rig.cni("DEL", number)
            rig.renew(number)
    figures = [
        Figure(dotted(name, "enrol_p50_ms", "enrol.p50_ms"), MS, percentile(0.5)),
        Figure(dotted(name, "enrol_p99_ms", "enrol.p99_ms"), MS, percentile(0.99)),
    ]
    for figure in figures:
        for value in values:
            figure.add(value)
    return figures


def memory(rig: Rig, name: str) -> list[Figure]:
    """Proportional set size at the end, when all of the above has happened. 0 = there is no such process."""
    whole(rig)
    found = {"envoy": rig.pids("envoy"), "agent": agents(rig), "relay": rig.pids("tidegate-relay")}
    figures = []
    for part, pids in found.items():
        figure = Figure(f"{name}.{part}_mb", MB, max)
        figure.add(pss(pids), processes=len(pids))
        say(f"{figure.name}: {figure.runs[0]['value']}")
        figures.append(figure)
    return figures


def agents(rig: Rig) -> list[int]:
    """The agent's process: the one that answers."""
    return [int(rig.status()["agent"]["pid"])]


def pss(pids: Sequence[int]) -> float:
    """Proportional set size of processes, in 10^6 bytes."""
    total = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += int(next(line for line in rollup if line.startswith("Pss:")).split()[1]) * 1024
    return round(total / 1e6, 1)


def spread_over(numbers: Sequence[int], times: int) -> list[int]:
    """So many of them, from one end to the other; some more than once if there are too few."""
    if not numbers:
        raise BenchError("there is no such service")
    return [numbers[index * len(numbers) // times] for index in range(times)]


def say(text: str, *, often: bool = False) -> None:
    """Progress, for whoever waits; what comes often is left out."""
    if not often:
        print(f"bench: {text}", file=sys.stderr, flush=True)
