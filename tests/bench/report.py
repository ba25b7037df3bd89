"""From raw runs to bench.json. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
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


def result(metric: Metric, placement: str, runs: Sequence[Run], peers: Sequence[str]) -> dict[str, Any]:
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
        "peers": {peer: median(mine, peer) for peer in peers},
        "ratio_to_direct": round(tidegate / direct, 3) if tidegate is not None and direct else None,
        "spread": {name: spread(mine, name) for name in contestants},
        "runs": [{"contestant": run.contestant, "round": run.round, "value": run.value} for run in mine],
    }


def results(metrics: Iterable[Metric], runs: Sequence[Run], peers: Sequence[str]) -> list[dict[str, Any]]:
    """Of each metric, one entry for each placement. peers: who else competes."""
    return [result(metric, placement, runs, peers) for metric in metrics for placement in PLACEMENTS]


def document(machine: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole of bench.json."""
    return {"machine": machine, "results": results}


NETWORK, GATEWAY, TLS, PROMISES, FAIR = "network", "gateway", "tls", "promises", "fair"
MEMBERS = {
    "l4": NETWORK,
    "l7": NETWORK,
    "stuck": FAIR,
    **dict.fromkeys(("change", "enrol", "recover", "read"), PROMISES),
}
# Measured only when they are named: for a test of the benchmark; on a cluster whose programs have to be built first.
NOT_BY_ITSELF = frozenset({"scale.smoke", "scale.kube"})


def chosen(only: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Groups that are meant by beginnings of figures' names; all if there are none. Raises ValueError for others."""
    wanted = set(groups) - NOT_BY_ITSELF if not only else set()
    for name in only:
        meant = f"{MEMBERS.get(name.partition('.')[0], name)}."
        fits = {group for group in groups if f"{group}.".startswith(meant) or meant.startswith(f"{group}.")}
        if not fits:
            raise ValueError(f"no figure begins with {name}; there are {', '.join((*MEMBERS, *groups))}")
        wanted |= fits - {special for special in NOT_BY_ITSELF if not meant.startswith(f"{special}.")}
    return [group for group in groups if group in wanted]


def of_network(result: Mapping[str, Any]) -> bool:
    """Whether it compares paths and so comes in placements."""
    return str(result["name"]).rpartition(".")[2] in PLACEMENTS


def merged(
    before: Mapping[str, Any], machine: Mapping[str, Any], results: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """bench.json with these results in it, in place of older ones of the same name; paths come first."""
    new = {result["name"]: dict(result) for result in results}
    kept = [result for result in before.get("results", []) if result["name"] not in new]
    facts = dict(machine)
    if any(of_network(result) for result in kept):  # how those were measured stays true of them
        facts |= {name: before["machine"][name] for name in ("rounds", "seconds") if name in before["machine"]}
        facts["quick"] = facts["quick"] or before["machine"]["quick"]
    found = [*kept, *new.values()]
    paths = [result for result in found if of_network(result)]
    return {"machine": facts, "results": [*paths, *(result for result in found if not of_network(result))]}
