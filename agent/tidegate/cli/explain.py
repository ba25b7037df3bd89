"""`tidegate explain`: hook by hook and rule by rule, what happens to one connection or request, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tidegate.cli.client import ask
from tidegate.cli.output import Format, OutputOption, structured
from tidegate.cli.status import RunDirOption
from tidegate.compile.explain.render import render
from tidegate.errors import Rejected
from tidegate.model.names import WorkloadId
from tidegate.model.net import split_destination


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    pod: Annotated[
        str, typer.Argument(help="NAMESPACE/POD that connects; for a gateway (--run-dir) the URL asked for")
    ],
    destination: Annotated[str, typer.Argument(help="HOST or IP, with :PORT if the service has several")] = "",
    method: Annotated[str, typer.Option(help="HTTP method")] = "GET",
    path: Annotated[str, typer.Option(help="HTTP path with query")] = "/",
    header: Annotated[list[str] | None, typer.Option(help="k:v, repeatable")] = None,
    sni: Annotated[str, typer.Option(help="name that a TLS client asks for; HOST if not given")] = "",
    output: OutputOption = Format.TABLE,
    run_dir: RunDirOption = None,
) -> None:
    """Tier, matched rule with file and line, subset, endpoints. Exit 1 when it would be refused or nobody is there."""
    if "://" in pod and not destination:
        _explain_url(pod, method, header or [], output, run_dir)
    try:
        source = WorkloadId.parse(pod)
        split_destination(destination)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    query = {"pod": str(source), "destination": destination, "method": method, "path": path, "sni": sni}
    query |= _headers(header or [])
    answers = [a.value for a in ask("explain", query, run_dir) if a.value is not None]
    if not answers:
        raise Rejected(f"pod {source}", "runs on none of the nodes that answered", "see `tidegate status`")
    if not structured(answers[0], output):
        print(render(answers[0]))
    raise typer.Exit(1 if answers[0]["verdict"] in ("deny", "unavailable") else 0)


def _headers(written: Sequence[str]) -> dict[str, str]:
    query = {}
    for index, text in enumerate(written):
        name, colon, value = text.partition(":")
        if not colon:
            raise typer.BadParameter(f"{text!r} is not NAME:VALUE", param_hint="--header")
        query[f"header.{index}.{name.strip().lower()}"] = value.strip()
    return query


def _explain_url(url: str, method: str, header: Sequence[str], output: Format, run_dir: Path | None) -> NoReturn:
    """What the gateway of that run directory does with a request."""
    found = ask("explain", {"url": url, "method": method, **_headers(header)}, run_dir)[0].value
    if found is None or "hops" not in found:
        raise Rejected(f"--run-dir {run_dir}", "is an agent's", "name the run directory of a gateway")
    if not structured(found, output):
        for hop in found["hops"]:
            print(f"{hop['step']}: {hop['result']}")
        for one in found.get("destinations", ()):
            print(f"  {one['percent']:g} % {one['cluster']}: {', '.join(one['endpoints'] or ()) or 'no address known'}")
        print(found["verdict"] + (f": {found['reason']}" if found["reason"] else ""))
    raise typer.Exit(1 if found["verdict"] in ("deny", "unavailable") else 0)
