"""`tidegate agent`: run the node agent in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tidegate import settings as table
from tidegate.errors import Rejected


def register(app: typer.Typer) -> None:
    app.command("agent")(run)


def run(
    node: Annotated[str | None, typer.Option(help="name of this node; default: host name")] = None,
    config: Annotated[list[str] | None, typer.Option(help="where configuration comes from, e.g. file:DIR")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="sockets and state of this agent")] = None,
    bpffs: Annotated[Path | None, typer.Option(help="directory for pinned kernel objects")] = None,
    cgroup: Annotated[
        Path | None, typer.Option(help="cgroup v2 directory that holds the pods; default: the root")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="fast path threads; 0 = one per CPU")] = None,
    envoy_concurrency: Annotated[int | None, typer.Option(help="Envoy's worker threads")] = None,
    admin_port: Annotated[int | None, typer.Option(help="localhost port, 0 = none")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="localhost port, 0 = none")] = None,
    ready_port: Annotated[int | None, typer.Option(help="localhost port, 0 = none")] = None,
    drain_seconds: Annotated[float | None, typer.Option(help="time for live connections at a stop")] = None,
    cni_conf_dir: Annotated[
        Path | None, typer.Option(help="keep our CNI plugin chained in this directory's configuration")
    ] = None,
    cni_bin_dir: Annotated[Path | None, typer.Option(help="where the plugin goes then")] = None,
    cni_conflist: Annotated[str | None, typer.Option(help="file to chain it in; default: the first by name")] = None,
    access_log: Annotated[bool | None, typer.Option(help="log one line per connection of the fast path")] = None,
    log_level: Annotated[str | None, typer.Option(help=f"one of {', '.join(table.LOG_LEVELS)}")] = None,
) -> None:
    """Run the node agent until SIGTERM. Every option can also be given as TIDEGATE_<NAME>."""
    from tidegate.app import serve

    flags = {key: value for key, value in locals().items() if key != "serve"}
    try:
        settings = table.from_environment(flags)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    asyncio.run(serve(settings))
