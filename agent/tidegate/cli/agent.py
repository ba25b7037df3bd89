"""`tidegate agent`: run the node agent in the foreground. Its options are the fields of settings.Settings."""

from __future__ import annotations

import asyncio
from dataclasses import Field, fields
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from tidegate import settings as table
from tidegate.errors import Rejected
from tidegate.model.names import use_cluster_domain
from tidegate.model.sockets import allow_unix_endpoints
from tidegate.model.tls_files import use_tls_files
from tidegate.runtime.collector import importing


def register(app: typer.Typer) -> None:
    app.command("agent")(run)


def run(**flags: Any) -> None:
    """Run the node agent until SIGTERM; relay, Envoy and capture go on without it, for the next one.

    Every option but --end can also be given as TIDEGATE_<NAME>.
    """
    ending = flags.pop("end")
    try:
        settings = table.from_environment(flags)
        use_cluster_domain(settings.cluster_domain)
        allow_unix_endpoints(settings.unix_endpoints)
        use_tls_files(str(settings.tls_files.absolute()) if settings.tls_files else "")
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    if ending:
        from tidegate.end import end

        asyncio.run(end(settings))
    else:
        with importing():
            from tidegate.app import serve

        asyncio.run(serve(settings))
        if settings.daemonset:
            from tidegate.end import end_if_removed

            asyncio.run(end_if_removed(settings))


def option(setting: Field[Any], of: type[table.Settings] | type[table.GatewaySettings] = table.Settings) -> Parameter:
    """A setting as Typer reads it from a signature."""
    one = table.kind(setting, of)
    wanted: Any = list[one] if table.is_list(setting) else one  # type: ignore[valid-type]
    annotation = Annotated[wanted | None, typer.Option(help=setting.metadata["help"])]
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_END = Parameter(
    "end",
    Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--end", help="end capture, relay and Envoy that an agent left, and exit")],
)
# Typer reads a command's options from its signature.
run.__signature__ = Signature([*(option(f) for f in fields(table.Settings)), _END])  # type: ignore[attr-defined]
