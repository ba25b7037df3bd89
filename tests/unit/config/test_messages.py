"""The table of messages: codes are unique, texts get the arguments that they want, the page is up to date."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from tidegate.config import messages
from tidegate.config.messages import MESSAGES, Message, as_markdown

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "agent" / "tidegate" / "config"
NAMES = {name: row for name, row in vars(messages).items() if isinstance(row, Message)}


def uses() -> Iterator[tuple[str, str, set[str]]]:
    """Place, name and arguments of each call of a message."""
    for path in sorted(CONFIG.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "say"
                and node.func.attr in NAMES
            ):
                yield f"{path.name}:{node.lineno}", node.func.attr, {word.arg or "" for word in node.keywords}


USES = list(uses())


def test_codes_and_names_are_unique_and_in_order() -> None:
    codes = [row.code for row in MESSAGES]
    assert len(codes) == len(set(codes)) == len({row.slug for row in MESSAGES}) == len(NAMES)


@pytest.mark.parametrize(("place", "name", "given"), USES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_message_gets_what_its_text_wants(place: str, name: str, given: set[str]) -> None:
    wanted = {field for _, field, _, _ in Formatter().parse(NAMES[name].template) if field is not None}
    assert given == wanted, place


def test_every_message_is_said_somewhere() -> None:
    assert NAMES.keys() - {name for _, name, _ in USES} == set()


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "messages.md").read_text() == as_markdown(), "run `make messages`"
