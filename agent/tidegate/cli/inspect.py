"""`tidegate pods|services|policies`: what the data plane really has, read from the kernel tables of each node."""

from __future__ import annotations

from typing import Any

import typer

from tidegate.cli.client import ask
from tidegate.cli.output import Format, OutputOption, structured, table
from tidegate.cli.status import RunDirOption


def register(app: typer.Typer) -> None:
    app.command("pods")(pods)
    app.command("services")(services)
    app.command("policies")(policies)


def pods(output: OutputOption = Format.TABLE, run_dir: RunDirOption = None) -> None:
    """Enrolled pods as the hooks see them: netns cookie, addresses, listener ports."""
    rows = _rows("pods", run_dir)
    if not structured(rows, output):
        table(
            ("NODE", "NAMESPACE", "POD", "NETNS COOKIE", "IPV4", "IPV6", "FAST PATH", "ENVOY", "GUARDED"),
            [
                (r["node"], r["namespace"], r["name"], r["netns_cookie"], r["ip4"] or "-", r["ip6"] or "-",
                 _ports(r["fastpath4"], r["fastpath6"]), _ports(r["envoy4"], r["envoy6"]),
                 "yes" if r["guarded"] else "NO")
                for r in rows
            ],
        )  # fmt: skip


def services(output: OutputOption = Format.TABLE, run_dir: RunDirOption = None) -> None:
    """Destinations as the connect hook sees them: address, port, the tier that serves it."""
    rows = _rows("services", run_dir)
    if not structured(rows, output):
        table(
            ("NODE", "ADDRESS", "PORT", "TIER", "SERVICE", "ENDPOINTS"),
            [
                (
                    r["node"],
                    r["address"],
                    r["port"] or "any",
                    r["tier"],
                    r["service"] or "-",
                    ", ".join(r["endpoints"]) or "-",
                )
                for r in rows
            ],
        )


def policies(output: OutputOption = Format.TABLE, run_dir: RunDirOption = None) -> None:
    """Who may connect to the pods of each node: policies in the order of their names, and whether they are in force."""
    rows = _rows("policies", run_dir)
    if not structured(rows, output):
        table(
            ("NODE", "POLICY", "ACTION", "IN FORCE", "PODS", "WRITTEN IN"),
            [
                (
                    r["node"],
                    r["policy"],
                    r["action"] + (" (on trial)" if r["dry_run"] else ""),
                    "yes" if r["in_force"] else f"NO: {r['reason']}",
                    ", ".join(r["pods"]),
                    _written(r["origin"]),
                )
                for r in rows
            ],
        )


def _written(origin: dict[str, Any]) -> str:
    place = f"{origin['file']}:{origin['line']}" if origin["file"] else ""
    return place or f"{origin['kind']} {origin['namespace']}/{origin['name']}"


def _rows(view: str, run_dir: Any) -> list[dict[str, Any]]:
    return [row for answer in ask(view, run_dir=run_dir) for row in answer.value]


def _ports(v4: int, v6: int) -> str:
    return f"{v4 or '-'}/{v6 or '-'}"
