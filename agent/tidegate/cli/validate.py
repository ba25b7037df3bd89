"""`tidegate validate`: one line per finding, exit 1 if any is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.domain import ClusterDomainOption
from tidegate.cli.output import Format, OutputOption, structured


def register(app: typer.Typer) -> None:
    app.command("validate")(validate)


def validate(
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="file or directory, repeatable", exists=True)
    ] = None,
    cluster_domain: ClusterDomainOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Check Kubernetes and Istio documents. Needs no root and no agent."""
    from tidegate.config.sources.files import load_paths
    from tidegate.config.store import load_once

    if not file:
        raise typer.BadParameter("name at least one file or directory", param_hint="-f")
    problems = load_once(load_paths(file)).problems
    if not structured([p.as_json() for p in problems], output):
        for problem in problems:
            print(problem)
        if not problems:
            print("no findings", file=sys.stderr)
    raise typer.Exit(1 if any(p.is_error for p in problems) else 0)
