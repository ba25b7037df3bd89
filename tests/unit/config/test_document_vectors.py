"""tests/vectors/documents: every finding, and nothing but the findings, at the line where the mistake is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tidegate.config.documents import parse_text
from tidegate.config.messages import MESSAGES

DIRECTORY = Path(__file__).parents[2] / "vectors" / "documents"
MARK = re.compile(r"#! (TG\d{4})(?: (.*))?")


def expected(text: str) -> list[tuple[int, str, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.split("#! ")[1:]:
            mark = MARK.fullmatch("#! " + part.strip())
            assert mark, f"line {number}: {part!r} is no expectation"
            found.append((number, mark[1], mark[2] or ""))
    return found


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.yaml")), ids=lambda p: p.stem)
def test_findings(path: Path) -> None:
    text = path.read_text()
    problems = list(parse_text(text, path.name).problems)
    for line, code, part in expected(text):
        fitting = [p for p in problems if p.line == line and p.code == code and part in p.message]
        assert fitting, f"{path.name}:{line}: no {code} {part}; there is:\n" + "\n".join(map(str, problems))
        problems.remove(fitting[0])
    assert not problems, "not expected:\n" + "\n".join(map(str, problems))


def test_nearly_every_message_is_expected_somewhere() -> None:
    """A message that nothing provokes may be dead, or wrong."""
    seen = {code for path in DIRECTORY.glob("*.yaml") for _, code, _ in expected(path.read_text())}
    documents = {row.code for row in MESSAGES if row.code < "TG05"}
    assert documents - seen == set()


def test_every_vector_file_has_expectations() -> None:
    counts = Counter(p.stem for p in DIRECTORY.glob("*.yaml") for _ in expected(p.read_text()))
    assert set(counts) == {p.stem for p in DIRECTORY.glob("*.yaml")}
