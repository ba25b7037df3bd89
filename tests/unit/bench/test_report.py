"""From raw runs to bench.json, and from there to the table of the README."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.bench import readme
from tests.bench.loads import AT_THE_GATEWAY, BY_NAME, LOADS, Metric, metrics
from tests.bench.report import PEERS, Run, document, results
from tests.bench.scale import percentile

METRICS = metrics(LOADS)
MACHINE = {"kernel": "6.1", "cpu": "CPU", "cpus": 2, "rounds": 3, "seconds": 0.5, "quick": False}


def runs(contestants: dict[str, list[float]], of: Sequence[Metric] = METRICS) -> list[Run]:
    return [
        Run(name, placement, metric.name, number, value)
        for metric in of
        for placement in ("1core", "free")
        for name, values in contestants.items()
        for number, value in enumerate(values)
    ]


def bench(**contestants: list[float]) -> dict[str, Any]:
    return document(MACHINE, results(METRICS, runs(contestants), PEERS))


FULL = {"direct": [10.0, 30.0, 20.0], "tidegate": [25.0, 24.0, 90.0], "envoy2_iptables": [80.0], "haproxy": [50.0]}


def test_every_name_of_the_interface_is_there_in_both_placements() -> None:
    names = {result["name"] for result in bench(**FULL)["results"]}
    wanted = [*(f"l4.samenode.{kind}" for kind in ("rr64", "rr16k", "bulk", "conn")), "l7.rps", "l7.p50", "l7.p99"]
    assert names == {f"{name}.{placement}" for name in wanted for placement in ("1core", "free")}


def test_figures_are_medians_and_raw_runs_are_kept() -> None:
    result = bench(**FULL)["results"][0]
    assert (result["direct"], result["tidegate"]) == (20.0, 25.0)
    assert result["peers"] == {"envoy2_iptables": 80.0, "haproxy": 50.0}
    assert result["ratio_to_direct"] == 1.25
    assert result["spread"]["direct"] == 1.0
    assert [run["value"] for run in result["runs"] if run["contestant"] == "tidegate"] == FULL["tidegate"]


def test_placements_and_metrics_do_not_mix() -> None:
    mixed = [*runs(FULL), Run("direct", "free", "l7.rps", 9, 1e9)]
    found = {result["name"]: result for result in results(METRICS, mixed, PEERS)}
    assert found["l7.rps.1core"]["spread"]["direct"] == found["l7.p50.free"]["spread"]["direct"] == 1.0
    assert found["l7.rps.free"]["spread"]["direct"] > 1.0


def test_the_table_shows_every_figure_and_its_ratio() -> None:
    text = readme.table(bench(**FULL))
    assert "| 20.0 µs | 25.0 µs (1.25×) | 80.0 µs (4.00×) | 50.0 µs (2.50×) |" in text
    assert text.count("`l4.samenode.rr64.1core`") == text.count("`l7.rps.free`") == 1
    assert "25/s" in text
    assert "medians of 3 interleaved runs" in text


def test_the_table_says_of_how_many_runs_figures_are_that_were_measured_apart() -> None:
    names = metrics(BY_NAME)
    longer = results(names, runs(dict.fromkeys(("direct", "tidegate", "haproxy"), [1.0] * 7), names), ["haproxy"])
    text = readme.table(document(MACHINE, [*bench(**FULL)["results"], *longer]))
    assert "medians of 3 to 7 interleaved runs" in text


def test_what_is_compared_with_one_other_has_a_table_of_its_own() -> None:
    gateway, names = metrics(AT_THE_GATEWAY), metrics(BY_NAME)
    direct = {"direct": [100.0], "tidegate": [50.0]}
    found = [
        *results(gateway, runs({**direct, "envoy_static": [40.0]}, gateway), ["envoy_static"]),
        *results(names, runs({**direct, "haproxy": [200.0]}, names), ["haproxy"]),
    ]
    assert {result["name"] for result in found[::2]} == {f"{name}.1core" for name in readme.EDGE}
    text = readme.table(document(MACHINE, [*bench(**FULL)["results"], *found]))
    assert "(`gateway.rps.1core`) | 100/s | 50/s (1.25×) | 40/s (Envoy, a file by hand) | ≥ 0.95× |" in text
    assert "(`gateway.p99.free`) | 100.0 µs | 50.0 µs (1.25×) | 40.0 µs (Envoy, a file by hand) | ≤ 1.05× |" in text
    assert "(`tls.sni.conn.free`) | 100/s | 50/s (0.25×) | 200/s (HAProxy) | ≥ 1.0× |" in text
    assert all(text.count(f"(`{result['name']}`)") == 1 for result in found)
    assert "At an edge" not in readme.table(bench(**FULL))


def test_only_what_is_between_the_markers_changes() -> None:
    text = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n"
    once = readme.replaced(text, "new")
    assert once == f"above\n{readme.BEGIN}\nnew\n{readme.END}\nbelow\n"
    assert readme.replaced(once, "new") == once


@pytest.mark.parametrize("text", ["", readme.BEGIN, readme.END + readme.BEGIN, (readme.BEGIN + readme.END) * 2])
def test_without_one_pair_of_markers_nothing_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="bench:begin"):
        readme.replaced(text, "new")


@pytest.mark.parametrize(
    ("machine", "contestants"),
    [({**MACHINE, "quick": True}, FULL), (MACHINE, {name: v for name, v in FULL.items() if name != "tidegate"})],
    ids=["quick", "without tidegate"],
)
def test_a_smoke_test_does_not_become_the_readme(
    machine: dict[str, Any], contestants: dict[str, list[float]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="make bench"):
        readme.table(document(machine, results(METRICS, runs(contestants), PEERS)))


def test_the_document_is_plain_json() -> None:
    assert json.loads(json.dumps(bench(**FULL)))["machine"] == MACHINE


PUBLISHED = json.loads(readme.PUBLISHED.read_text(encoding="utf-8"))


def test_the_table_of_the_readme_is_that_of_the_published_runs() -> None:
    text = (readme.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.replaced(text, readme.table(PUBLISHED)) == text


def summary(name: str, values: list[float]) -> float:
    """What a figure of that name says of its runs; of the paths (l4, l7) each run is a percentile already."""
    if name.startswith(("l4.", "l7.")):
        return statistics.median(values)
    if name.endswith(".worst_ms"):
        return max(values)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    share = next((share for ending, share in shares.items() if name.endswith(ending)), None)
    return statistics.median(values) if share is None else percentile(share)(values)


def test_published_figures_follow_from_their_raw_runs() -> None:
    for result in PUBLISHED["results"]:
        ran = {run["contestant"] for run in result["runs"]}
        assert "tidegate" in ran, result["name"]
        for contestant in ran:
            values = [run["value"] for run in result["runs"] if run["contestant"] == contestant]
            wanted = pytest.approx(summary(result["name"], values), abs=0.001)
            assert readme.value_of(result, contestant) == wanted, result["name"]
        for contestant in {"direct", "tidegate", "envoy2_iptables", "haproxy"} - ran:
            assert readme.value_of(result, contestant) is None, "no figure without runs"


def test_published_figures_keep_what_was_promised() -> None:
    """At most 50 us for a small round trip and 1.7 times the requests of the sidecar model, everything on one CPU."""
    found = {result["name"]: result for result in PUBLISHED["results"]}
    assert found["l4.samenode.rr64.1core"]["tidegate"] <= 50
    requests = found["l7.rps.1core"]
    assert requests["tidegate"] >= 1.7 * requests["peers"]["envoy2_iptables"]
