"""The scale benchmark's arithmetic: what is measured, what it is called, and what the README's tables say of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.bench import readme, scale_config
from tests.bench.report import chosen, merged
from tests.bench.scale import Figure, percentile, spread_over

from tidegate.config.documents import parse_text

GROUPS = ["network", "promises", "scale.1k", "scale.10k", "scale.smoke"]
MACHINE = {"kernel": "6.1", "cpu": "CPU", "cpus": 2, "rounds": 3, "seconds": 0.5, "quick": False}


def figure(name: str, *values: float, unit: str = "ms") -> dict[str, Any]:
    made = Figure(name, unit, percentile(0.5))
    for value in values:
        made.add(value)
    return made.result()


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ([], GROUPS[:4]),
        (["scale"], ["scale.1k", "scale.10k"]),
        (["scale.1k"], ["scale.1k"]),
        (["scale.1k.change_ms"], ["scale.1k"]),
        (["recover", "l7"], ["network", "promises"]),
        (["scale.smoke"], ["scale.smoke"]),
    ],
)
def test_groups_are_chosen_by_beginnings_of_names(only: list[str], wanted: list[str]) -> None:
    assert chosen(only, GROUPS) == wanted


@pytest.mark.parametrize("name", ["scale.1", "scal", "x"])
def test_a_name_that_nothing_begins_with_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no figure begins with"):
        chosen([name], GROUPS)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(share)(values) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile(0.99)([7.0]) == 7.0


def test_every_run_is_kept() -> None:
    result = figure("scale.1k.change_ms", 30, 10, 20)
    assert (result["tidegate"], result["spread"]) == (20, {"tidegate": 1.0})
    assert [run["value"] for run in result["runs"]] == [30, 10, 20]


def test_what_is_measured_again_takes_the_place_of_what_it_was() -> None:
    path = {"name": "l7.rps.free", "tidegate": 1.0}
    before = {"machine": {**MACHINE, "rounds": 9}, "results": [path, figure("recover.envoy_ms", 1)]}
    quick = {**MACHINE, "quick": True}
    after = merged(before, quick, [figure("recover.envoy_ms", 5), figure("scale.1k.cold_s", 2, unit="s")])
    assert [result["name"] for result in after["results"]] == ["l7.rps.free", "recover.envoy_ms", "scale.1k.cold_s"]
    assert [result["tidegate"] for result in after["results"]] == [1.0, 5, 2]
    assert (after["machine"]["rounds"], after["machine"]["quick"]) == (9, True)
    assert merged({}, MACHINE, []) == {"machine": MACHINE, "results": []}


def test_the_tables_show_each_size_that_was_measured_beside_what_is_promised() -> None:
    figures = [figure("scale.1k.change_ms", 1234), figure("scale.1k.envoy_mb", 99.6, unit="MB")]
    text = readme.table({"machine": MACHINE, "results": [*figures, figure("recover.envoy_ms", 310)]})
    assert "| 1 000 services | promised |" in text
    assert "10 000 services" not in text
    assert "(`scale.*.change_ms`) | 1 234 ms | ≤ 200 ms |" in text
    assert "(`scale.*.envoy_mb`) | 100 MB | ≤ 120 MB |" in text
    assert "(`scale.*.cold_s`) | – |  |" in text
    assert "(`recover.envoy_ms`) | 310 ms | ≤ 2 000 ms |" in text


def test_services_are_taken_from_all_over_the_cluster() -> None:
    assert spread_over(range(100), 4) == [0, 25, 50, 75]
    assert spread_over([3, 8], 4) == [3, 3, 8, 8]


def test_the_generated_documents_have_no_problem_and_addresses_of_their_own() -> None:
    numbers = [0, 249, 250, 9_999]
    texts = [scale_config.FIRST, scale_config.local_pod(7), *map(scale_config.service, numbers)]
    texts += [scale_config.rule(number, 3) for number in numbers]
    for text in texts:
        assert not parse_text(text, "scale.yaml").problems
    assert len({scale_config.vip(n) for n in range(10_000)}) == 10_000
    assert scale_config.vip(250) == "10.110.1.1"


def test_every_tenth_service_has_a_rule() -> None:
    assert {name: len(scale_config.with_rule(size)) for name, size in scale_config.SIZES.items()} == {
        "1k": 100,
        "10k": 1000,
        "smoke": 3,
    }
