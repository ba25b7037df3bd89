"""docs/faults.md and the tests marked case("ROW") agree: each closed row has tests, each mark names a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| ([A-Z]\d+) \|.*\| (.+?) \|$", re.MULTILINE)


def rows() -> dict[str, str]:
    """Row number -> what Tidegate does now ("open" where the row is not closed)."""
    return dict(ROW.findall((ROOT / "docs" / "faults.md").read_text()))


def marks() -> dict[str, set[str]]:
    """Row number -> files that have a test with its mark."""
    found: dict[str, set[str]] = {}
    for top in ("tests", "lab/tests"):
        for path in sorted((ROOT / top).rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.case":
                    for argument in node.args:
                        assert isinstance(argument, ast.Constant), f"{path}: a mark names its row in full"
                        found.setdefault(str(argument.value), set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_mark_names_a_row() -> None:
    assert sorted(set(marks()) - set(rows())) == []


def test_every_closed_row_has_a_test() -> None:
    closed = {row for row, now in rows().items() if now != "open"}
    assert sorted(closed - set(marks())) == []


def test_the_page_has_every_row() -> None:
    count = {"A": 6, "B": 12, "C": 9, "D": 6, "E": 9}
    assert sorted(rows()) == sorted(f"{letter}{n}" for letter, last in count.items() for n in range(1, last + 1))
