"""Figures of what one pod can take from another: both sides in one entry, and their tables."""

from __future__ import annotations

import statistics

from tests.bench import readme
from tests.bench.__main__ import GROUPS
from tests.bench.fair import Both
from tests.bench.report import chosen


def both(name: str, unit: str = "ms") -> Both:
    figure = Both(name, unit, statistics.median)
    for number, (direct, meshed) in enumerate([(10.0, 15.0), (30.0, 20.0), (20.0, 90.0)]):
        figure.add("direct", number, direct)
        figure.add("tidegate", number, meshed)
    return figure


def test_a_figure_has_both_sides_and_their_ratio() -> None:
    result = both("fair.16.max_ms").result()
    assert (result["direct"], result["tidegate"], result["ratio_to_direct"]) == (20.0, 20.0, 1.0)
    assert result["spread"] == {"direct": 1.0, "tidegate": 3.75}
    assert len(result["runs"]) == 6


def test_the_tables_show_what_was_measured() -> None:
    machine = {"kernel": "6.1", "cpu": "CPU", "cpus": 2, "rounds": 3, "seconds": 0.5, "quick": False}
    names = [("fair.16.max_ms", "ms"), ("stuck.up.tcp_mib", "MiB"), ("fair.greedy.http_ms", "ms")]
    results = [both(*name).result() for name in names]
    text = readme.table({"machine": machine, "results": results})
    assert "(`fair.16.max_ms`) | 20.0 ms | 20.0 ms (1.00×) | ≤ 2× |" in text
    assert "(`stuck.up.tcp_mib`) | 20.0 MiB | 20.0 MiB (1.00×) | ≤ 2× |" in text
    assert "(`fair.greedy.http_ms`) | 20.0 ms | 20.0 ms (1.00×) | ≤ 3× |" in text
    assert "fair.64" not in text


def test_one_group_measures_them() -> None:
    assert chosen(["stuck"], list(GROUPS)) == chosen(["fair.256"], list(GROUPS)) == ["fair"]
