"""tidegate validate: lines, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from tests.support.configs import service
from typer.testing import CliRunner

from tidegate.cli import validate

BAD = "kind: [\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  prts: []\n"


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    validate.register(app)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


def test_one_line_per_finding_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BAD)
    code, out = run("-f", str(path))
    assert code == 1
    first, second = out.splitlines()
    assert first.startswith(f"{path}:1: error: is not YAML")
    assert second == f'{path}:7: error Service default/a spec.prts: unknown field; did you mean "ports"?'


def test_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    code, out = run("-f", str(tmp_path), "-o", "json")
    findings = json.loads(out)
    assert code == 1
    assert set(findings[0]) == {"file", "line", "severity", "code", "kind", "namespace", "name", "path", "message"}
    assert {"TG0101", "TG0108"} <= {f["code"] for f in findings}
    assert {f["path"] for f in findings} >= {"", "spec.prts"}


def test_fine_files_and_warnings_exit_0(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    assert run("-f", str(tmp_path)) == (0, "")
    (tmp_path / "g.yaml").write_text(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: g}\n"
    )
    code, out = run("-f", str(tmp_path))
    assert code == 0
    said = "warning RequestAuthentication default/g kind: RequestAuthentication is not supported yet, ignored"
    assert out == f"{tmp_path}/g.yaml:2: {said}\n"


def test_usage_exits_2(tmp_path: Path) -> None:
    assert run()[0] == 2
    assert run("-f", str(tmp_path / "none.yaml"))[0] == 2
