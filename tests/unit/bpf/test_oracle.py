"""The oracle of the connect hook agrees with the written vectors; tests/bpf holds the kernel program to both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.connect_oracle import decide

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "connect"
CASES = [case for path in sorted(VECTORS.glob("*.json")) for case in json.loads(path.read_text())]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_vector(case: dict[str, Any]) -> None:
    assert decide(case) == case["expect"]
