"""The table of deliberate breakages fits the tree: each old text is there once, each test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.mutants.mutant import ROOT, TARGETS, Mutant
from tests.mutants.table import GROUPS

MUTANTS = [mutant for group in GROUPS for mutant in group.mutants]


@cache
def names_in(file: Path) -> frozenset[str]:
    """Names of the tests in a file, those of a class as CLASS::NAME."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, _FUNCTION)}
        elif isinstance(node, _FUNCTION):
            found.add(node.name)
    return frozenset(found)


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_made_and_its_tests_exist(mutant: Mutant) -> None:
    for file, text in mutant.mutated().items():
        if file.endswith(".py"):
            ast.parse(text, file)
        else:
            assert file.endswith((".c", ".h", ".yaml")), file
            assert file.endswith(".yaml") or any(file.startswith(prefix) for prefix in TARGETS), file
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), test
        if name:
            assert name.partition("[")[0] in names_in(ROOT / path), test


def test_names_are_unique_and_every_promise_has_two() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-zA-Z0-9.-]+", name) for name in names)
    assert not [group.promise for group in GROUPS if len(group.mutants) < 2]
