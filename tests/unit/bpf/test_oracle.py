"""The oracle of the connect hook agrees with the written vectors; tests/bpf holds the kernel program to both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.connect_oracle import decide, is_question

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


def load(folder: str) -> list[Any]:
    return [case for path in sorted((VECTORS / folder).glob("*.json")) for case in json.loads(path.read_text())]


@pytest.mark.parametrize("case", load("connect"), ids=lambda case: str(case["name"]))
def test_vector(case: dict[str, Any]) -> None:
    assert decide(case) == case["expect"]


@pytest.mark.parametrize("case", load("questions"), ids=lambda case: str(case["name"]))
def test_questions(case: dict[str, Any]) -> None:
    assert is_question(case) is case["expect"]
