"""What a run of mutants keeps: one that was ended goes on, and what changed since is tried again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.mutants.__main__ import in_order, together
from tests.mutants.cell import BUILD_FAILED, Ran
from tests.mutants.mutant import Mutant
from tests.mutants.results import Result, Results, Verdict, judge, state, unbroken

TEST = "tests/unit/test_it.py"
MUTANT = Mutant("off-by-one", "it counts wrong", "agent/it.py", "+ 1", "+ 2", (f"{TEST}::test_count",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for file, text in {"agent/it.py": "x = 0 + 1\n", TEST: "def test_count(): ...\n"}.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def ended(tree: Path, verdict: Verdict = "caught") -> Result:
    return Result("it counts", MUTANT.name, MUTANT.says, verdict, "a test", "1 == 2", 0.5, state(MUTANT, tree))


def row(test: str, kind: str = "AssertionError", when: str = "call") -> dict[str, Any]:
    return {"test": test, "when": when, "outcome": "failed" if kind else "passed", "type": kind, "says": "no"}


def test_a_run_that_goes_on_keeps_what_was_caught_and_tries_the_rest_again(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "mutants.json"
    Results(file, goes_on=False).add(ended(tree))
    assert Results(file, goes_on=True).caught(MUTANT, tree)
    assert not Results(file, goes_on=False).caught(MUTANT, tree)
    assert not Results(file, goes_on=True).caught(replace(MUTANT, name="another"), tree)
    for verdict in ("SURVIVED", "tests broke", "did not build", "red unbroken"):
        Results(file, goes_on=True).add(ended(tree, verdict))
        assert not Results(file, goes_on=True).caught(MUTANT, tree)
        assert Results(file, goes_on=True).verdict(MUTANT.name) == verdict
    assert len(json.loads(file.read_text())) == 1


@pytest.mark.parametrize("file", ["agent/it.py", TEST])
def test_what_was_caught_is_tried_again_when_the_code_or_the_test_changed(tree: Path, file: str) -> None:
    results = Results(tree / "mutants.json", goes_on=False)
    results.add(ended(tree))
    assert results.caught(MUTANT, tree)
    assert not results.caught(replace(MUTANT, new="+ 3"), tree)
    with (tree / file).open("a") as text:
        text.write("# more\n")
    assert not results.caught(MUTANT, tree)


def test_a_directory_of_tests_is_its_files(tree: Path) -> None:
    whole = replace(MUTANT, tests=("tests/unit",))
    before = state(whole, tree)
    (tree / TEST).write_text("def test_other(): ...\n")
    assert state(whole, tree) != before


def test_only_what_a_test_asserts_has_noticed_a_mutant() -> None:
    def verdict(code: int, *rows: dict[str, Any]) -> str:
        return judge(MUTANT, Ran(code, list(rows), "", ""))[0]

    assert verdict(1, row("t", "")) == "tests broke"
    assert verdict(0, row("t", "")) == "SURVIVED"
    assert verdict(1, row("t")) == "caught"
    assert verdict(1, row("t", when="setup")) == verdict(1, row("t", "KeyError")) == verdict(-9) == "tests broke"
    assert verdict(BUILD_FAILED) == "did not build"
    assert judge(replace(MUTANT, raises=("KeyError",)), Ran(1, [row("t", "KeyError")], "", ""))[0] == "caught"


def test_one_red_test_does_not_keep_the_others_from_being_tried() -> None:
    named = ["a.py", "b.py::test_b", "b.py::test_c", "c.py::test_d[1]", "d", "e"]
    assert unbroken(named, Ran(0, [], "", "")) == {}
    red = [row("a.py::test_x", when="setup"), row("b.py::test_b[2]"), row("b.py::test_cc"), row("b.py::test_c", "")]
    red.append(row("d/f.py::test_f"))
    assert list(unbroken(named, Ran(1, red, "", ""))) == ["a.py", "b.py::test_b", "d"]
    assert list(unbroken(named, Ran(-9, [], "", "killed"))) == named, "nobody knows which"


def test_those_of_unit_tests_come_first_and_all_come() -> None:
    chosen = in_order([])
    units = [mutant.only_units() for _, mutant in chosen]
    assert units == sorted(units, reverse=True)
    assert True in units
    portions = list(together(chosen))
    assert [each for portion in portions for each in portion] == chosen
    assert max(len(portion) for portion in portions) == 20
    assert not [portion for portion in portions if len({mutant.only_units() for _, mutant in portion}) > 1]
    assert [mutant.name for _, mutant in in_order(["peername*"])] == [
        mutant.name for _, mutant in chosen if mutant.name.startswith("peername")
    ]
