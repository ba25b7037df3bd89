"""From raw runs to bench.json. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.loads import Metric

PLACEMENTS = ("1core", "free")
PEERS = ("envoy2_iptables", "haproxy")


@dataclass(frozen=True, slots=True)
class Run:
    """One figure: which contestant, in which round, under which placement."""

    contestant: str
    placement: str
    metric: str
    round: int
    value: float


def median(runs: Iterable[Run], contestant: str) -> float | None:
    """The median of a contestant's values; None if it did not run."""
    values = [run.value for run in runs if run.contestant == contestant]
    return statistics.median(values) if values else None


def spread(runs: Iterable[Run], contestant: str) -> float | None:
    """(highest - lowest) / median of a contestant's values: how far a single run may be trusted."""
    values = [run.value for run in runs if run.contestant == contestant]
    return round((max(values) - min(values)) / statistics.median(values), 3) if values else None


def result(metric: Metric, placement: str, runs: Sequence[Run]) -> dict[str, Any]:
    """One entry of `results`."""
    mine = [run for run in runs if run.metric == metric.name and run.placement == placement]
    direct, tidegate = median(mine, "direct"), median(mine, "tidegate")
    contestants = sorted({run.contestant for run in mine})
    return {
        "name": f"{metric.name}.{placement}",
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "tidegate": tidegate,
        "direct": direct,
        "peers": {peer: median(mine, peer) for peer in PEERS},
        "ratio_to_direct": round(tidegate / direct, 3) if tidegate is not None and direct else None,
        "spread": {name: spread(mine, name) for name in contestants},
        "runs": [{"contestant": run.contestant, "round": run.round, "value": run.value} for run in mine],
    }


def document(machine: dict[str, Any], metrics: Sequence[Metric], runs: Sequence[Run]) -> dict[str, Any]:
    """The whole of bench.json."""
    results = [result(metric, placement, runs) for metric in metrics for placement in PLACEMENTS]
    return {"machine": machine, "results": results}
