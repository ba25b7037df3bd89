"""`tidegate certs`: the certificates of workloads that agents and gateways hold."""

from __future__ import annotations

from typing import Any

import typer

from tidegate.cli.client import ask
from tidegate.cli.output import Format, OutputOption, structured, table
from tidegate.cli.status import RunDirOption


def register(app: typer.Typer) -> None:
    app.command("certs")(certs)


def certs(output: OutputOption = Format.TABLE, run_dir: RunDirOption = None) -> None:
    """Certificates of workloads: whose, until when, when they are replaced, who signed, which roots count.

    Exit 1 when one is missing or has expired.
    """
    rows: list[dict[str, Any]] = [row for answer in ask("certs", run_dir=run_dir) for row in answer.value]
    if not structured(rows, output):
        table(
            ("NODE", "IDENTITY", "STATE", "SERIAL", "NOT BEFORE", "NOT AFTER", "NEXT ROTATION", "ISSUER", "ROOTS"),
            [
                (r["node"], r["identity"], r["state"] + (f": {r['reason']}" if r["reason"] else ""), r["serial"] or "-",
                 r["not_before"] or "-", r["not_after"] or "-", r["next_rotation"] or "-", r["issuer"] or "-",
                 ", ".join(r["roots"]) or "-")
                for r in rows
            ],
        )  # fmt: skip
    raise typer.Exit(1 if any(row["state"] in ("missing", "expired") for row in rows) else 0)
