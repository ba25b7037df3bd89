"""`tidegate agent`: run the node agent in the foreground. Its options are the fields of settings.Settings."""

from __future__ import annotations

import asyncio
from dataclasses import Field, fields
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from tidegate import settings as table
from tidegate.errors import Rejected


def register(app: typer.Typer) -> None:
    app.command("agent")(run)


def run(**flags: Any) -> None:
    """Run the node agent until SIGTERM. Every option can also be given as TIDEGATE_<NAME>."""
    from tidegate.app import serve

    try:
        settings = table.from_environment(flags)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    asyncio.run(serve(settings))


def _option(setting: Field[Any]) -> Parameter:
    one = table.kind(setting)
    wanted: Any = list[one] if setting.name == "config" else one  # type: ignore[valid-type]
    annotation = Annotated[wanted | None, typer.Option(help=setting.metadata["help"])]
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


# Typer reads a command's options from its signature.
run.__signature__ = Signature([_option(f) for f in fields(table.Settings)])  # type: ignore[attr-defined]
