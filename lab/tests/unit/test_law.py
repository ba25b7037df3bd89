"""What the lab may use of the agent: its words and what speaks to Linux. Agents are driven through their public API."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tidegate_lab

ALLOWED = {"cli.client", "cli.output", "config", "errors", "linux", "model", "runtime", "settings"}
SOURCES = sorted(Path(tidegate_lab.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_lab_knows_no_insides_of_the_agent(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tidegate":
            room = node.module.removeprefix("tidegate").removeprefix(".")
            assert any(room == a or room.startswith(a + ".") for a in ALLOWED), f"{path.name} imports {node.module}"
