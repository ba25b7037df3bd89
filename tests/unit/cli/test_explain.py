"""explain tells a mistyped question (exit 2) from an answer."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tidegate.cli.main import app


@pytest.mark.parametrize(
    "arguments",
    [
        ("a/b/c", "web:80"),
        ("default/a", "web:8x"),
        ("default/a", "web:0"),
        ("default/a", "web:80:1"),
        ("default/a", "http://web/"),
        ("default/a", "web/x"),
    ],
)
def test_what_is_no_pod_or_no_destination_is_a_usage_error(arguments: tuple[str, str]) -> None:
    assert CliRunner().invoke(app, ["explain", *arguments]).exit_code == 2
