"""tidegate compile: Envoy's resources and the fast path's services of files, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.configs import destination_rule, pod, service, virtual_service
from typer.testing import CliRunner

from tidegate.cli import compile as compile_command
from tidegate.errors import Rejected


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    compile_command.register(app)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def files(tmp_path: Path) -> Path:
    split = """
    - route:
      - {destination: {host: reviews, subset: v1}, weight: 75}
      - {destination: {host: reviews, subset: v2}, weight: 25}
    """
    texts = [
        service("reviews", "http:9080", "tcp:3306"),
        pod("reviews-1", "app: reviews, version: v1"),
        pod("client", "app: client"),
        virtual_service("v", "reviews", split),
        destination_rule("d", "reviews", "subsets: [{name: v1, labels: {version: v1}}, {name: v2}]"),
    ]
    (tmp_path / "all.yaml").write_text("---".join(texts))
    return tmp_path


def compiled(*arguments: str) -> dict[str, Any]:
    code, out = run(*arguments, "-o", "json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_json(files: Path) -> None:
    found = compiled("-f", str(files))
    assert set(found) == {"listeners", "scopes", "routes", "clusters", "endpoints", "secrets", "l4"}
    assert len(found["listeners"]) == 2
    weights = found["routes"][0]["virtual_hosts"][0]["routes"][0]["route"]["weighted_clusters"]["clusters"]
    assert [w["weight"] for w in weights] == [75, 25]
    assert {s["name"] for s in found["l4"]["services"]} == {"reviews.default.svc.cluster.local:3306"}
    assert {d["tier"] for d in found["l4"]["destinations"]} == {"envoy", "fastpath", "direct"}


def test_one_pod(files: Path) -> None:
    (listener,) = compiled("-f", str(files), "--pod", "default/client")["listeners"]
    assert "default/client" in listener["name"]
    with pytest.raises(Rejected, match="is not in these files; known: default/client"):
        run("-f", str(files), "--pod", "default/cl")


def test_errors_are_told_and_the_rest_is_compiled(files: Path) -> None:
    (files / "bad.yaml").write_text("kind: [\n")
    code, out = run("-f", str(files), "-o", "json")
    assert code == 1
    assert len(json.loads(out)["listeners"]) == 2


def test_table(files: Path) -> None:
    code, out = run("-f", str(files))
    assert code == 0
    assert "reviews.default.svc.cluster.local:9080" in out
