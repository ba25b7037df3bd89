"""`tidegate doctor`: what this kernel offers, who else sits on our hooks, whether capture is in place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tidegate.bpf.pins import Pins
from tidegate.bpf.probe import foreign_programs, probe
from tidegate.bpf.targets import attachments
from tidegate.cli.output import Format, OutputOption, structured, table
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.settings import DEFAULT_BPFFS


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    cgroup: Annotated[Path | None, typer.Option(help="cgroup v2 directory to look at; default: the root")] = None,
    bpffs: Annotated[Path, typer.Option(help="directory of the agent's pins")] = DEFAULT_BPFFS,
    output: OutputOption = Format.TABLE,
) -> None:
    """Kernel features, our programs, those of others. Exit 1 if something needed is missing, 4 if it could not look."""
    if cgroup is not None and not (cgroup / "cgroup.procs").is_file():
        raise typer.BadParameter(f"{cgroup} is no cgroup v2 directory", param_hint="--cgroup")
    features = probe()
    foreign = foreign_programs(cgroup or cgroup2_mount())
    ours = attachments(Pins(bpffs))
    value = {
        "features": [{"feature": f.name, "ok": f.ok, "needed": f.needed, "detail": f.detail} for f in features],
        "attached": [asdict(attachment) for attachment in ours],
        "foreign_programs": [{"hook": p.hook, "name": p.name, "id": p.id} for p in foreign],
    }
    if not structured(value, output):
        table(
            ("FEATURE", "VERDICT", "DETAIL"),
            [(f.name, "ok" if f.ok else "MISSING" if f.needed else "missing, optional", f.detail) for f in features],
        )
        for attachment in ours:
            place = (
                f"{attachment.kind} {attachment.target}" if attachment.target else f"a {attachment.kind} that is gone"
            )
            print(f"ours on {place}: {attachment.program} (link {attachment.link})")
        for program in foreign:
            print(f"foreign program on {program.hook}: {program.name} (id {program.id})")
    raise typer.Exit(1 if any(f.needed and not f.ok for f in features) else 0)
