"""tests/vectors/documents: every finding, and nothing but the findings, at the line where the mistake is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tidegate.config.documents import parse_text

DIRECTORY = Path(__file__).parents[2] / "vectors" / "documents"
MARK = re.compile(r"#! (error|warning): (.*)")


def expected(text: str) -> list[tuple[int, str, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.split("#! ")[1:]:
            mark = MARK.fullmatch("#! " + part.strip())
            assert mark, f"line {number}: {part!r} is no expectation"
            found.append((number, mark[1], mark[2]))
    return found


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.yaml")), ids=lambda p: p.stem)
def test_findings(path: Path) -> None:
    text = path.read_text()
    problems = list(parse_text(text, path.name).problems)
    for line, severity, part in expected(text):
        fitting = [p for p in problems if p.line == line and p.severity == severity and part in p.message]
        assert fitting, f"{path.name}:{line}: no {severity} with {part!r}; there is:\n" + "\n".join(map(str, problems))
        problems.remove(fitting[0])
    assert not problems, "not expected:\n" + "\n".join(map(str, problems))


def test_every_vector_file_has_expectations() -> None:
    counts = Counter(p.stem for p in DIRECTORY.glob("*.yaml") for _ in expected(p.read_text()))
    assert set(counts) == {p.stem for p in DIRECTORY.glob("*.yaml")}
