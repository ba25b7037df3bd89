"""What we promise in seconds, on a node with few services: a test would judge the machine, a figure does not.

`change.*` and `enrol.*` as in scale.py, `enrol.beside_bad.*` in neighbours.py; `recover.*` after kill -9;
`read.worst_ms`: the slowest of hostile documents like those of the fuzz tests (tests/unit/fuzz).
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import Any

from tests.bench import neighbours
from tests.bench import scale_config as config
from tests.bench.processes import BenchError
from tests.bench.scale import MS, Effort, Figure, changes, enrolments, running, say, whole
from tests.bench.scale_rig import Rig, Status
from tests.fuzz.mutate import mutants, seeds

RECOVERIES = 5


def measured(effort: Effort) -> list[dict[str, Any]]:
    """All of them."""
    with running(config.MANY_COME, "promises") as rig:
        figures = [
            *changes(rig, "", effort.changes),
            *enrolments(rig, "", effort.adds),
            agent_recovers(rig, min(RECOVERIES, effort.changes)),
            envoy_recovers(rig, min(RECOVERIES, effort.changes)),
        ]
    figures.append(reading(min(2000, 100 * effort.changes)))
    return [*(figure.result() for figure in figures), *neighbours.measured(effort)]


def agent_recovers(rig: Rig, times: int) -> Figure:
    """kill -9 of the agent, another one is started at once: until its status is well and TCP of a pod is relayed."""
    figure = Figure("recover.agent_ms", MS, statistics.median)
    watcher = rig.watcher()
    for _ in range(times):
        old = rig.status()["agent"]["pid"]
        begun = time.monotonic()
        rig.stop_agent(signal.SIGKILL)
        rig.start_agent()

        def well(status: Status, old: int = old) -> bool:
            return bool(status["healthy"] and status["agent"]["pid"] != old and status["applied"]["generation"] > 0)

        at, _ = rig.wait("the next agent is well", well, pace=0.02)
        watcher.tell(do="served", url=[config.TCP_VIP, config.TCP_PORT, "plain"])
        figure.add((max(at, watcher.answer()["at"]) - begun) * 1000)
    say(f"{figure.name}: {figure.result()['tidegate']} ms")
    return figure


def envoy_recovers(rig: Rig, times: int) -> Figure:
    """kill -9 of Envoy: until a request of a pod is answered again."""
    figure = Figure("recover.envoy_ms", MS, statistics.median)
    watcher = rig.watcher()
    for _ in range(times):
        whole(rig)
        begun = time.monotonic()
        os.kill(int(rig.status()["envoy"]["pid"]), signal.SIGKILL)
        watcher.tell(do="served", url=[config.vip(0), config.PORT, config.host(0)])
        figure.add((watcher.answer()["at"] - begun) * 1000)
    say(f"{figure.name}: {figure.result()['tidegate']} ms")
    return figure


def reading(count: int) -> Figure:
    """Each seed of the document fuzzer and so many mutants of them, read as the file source reads them."""
    # Imported here: the rest of the benchmark knows the agent's files and commands, not its modules.
    from tidegate.config.documents import parse_text

    figure = Figure("read.worst_ms", MS, max)
    known = list(seeds("documents").values())
    if not known:
        raise BenchError("no seeds in tests/fuzz/corpus/documents")
    taken = []
    for data in [*known, *mutants(known, [b"- " * 300, b"[" * 300, b"*a", b"<<: *a\n"], count=count, seed=20)]:
        begun = time.process_time()
        parse_text(data.decode(errors="replace"), "mesh.yaml")
        taken.append((time.process_time() - begun) * 1000)
    for value in sorted(taken)[-10:]:
        figure.add(value)
    return figure
