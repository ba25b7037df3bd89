"""A table shows what it is given, whatever it looks like."""

from __future__ import annotations

import pytest

from tidegate.cli.output import table


@pytest.mark.parametrize("cell", ["fd77:0:0:1::a:9000", "[fd77::1]:80", "[bold]x[/]", ":smile: 12.5 /x"])
def test_cells_are_text_and_not_markup(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    table(("ADDRESS",), [(cell,)])
    assert capsys.readouterr().out.splitlines()[1].strip() == cell
