"""One way to print what a read command found: a table for people, JSON or YAML for programs.

Libraries are imported where they are used: most commands print in one way, and scripts call them in loops.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Format, typer.Option("-o", "--output", help="table, json or yaml")]


def structured(value: Any, output: Format) -> bool:
    """Print value as JSON or YAML if that was asked for; False means the caller prints its table."""
    if output is Format.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif output is Format.YAML:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
    else:
        return False
    return True


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under columns, never cut when the output is a pipe."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        out.add_column(column, overflow="fold")
    for row in rows:
        out.add_row(*(Text(str(cell)) for cell in row))  # text, not markup: "fd00::a:80" would get an emoji for ":a:"
    console().print(out)


def console() -> Console:
    """A console as wide as the terminal, or wide enough for any line when there is none."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=220)
