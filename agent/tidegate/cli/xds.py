"""`tidegate xds`: serve configuration to Envoys and gRPC clients that are not ours. Needs no root."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.domain import ClusterDomainOption
from tidegate.errors import Rejected
from tidegate.settings import XDS_PORT, check_source, listen_address


def register(app: typer.Typer) -> None:
    app.command("xds")(xds)


def xds(
    config: Annotated[list[str], typer.Option(help="where configuration comes from, e.g. file:DIR; may be repeated")],
    listen: Annotated[str, typer.Option(help="ADDRESS:PORT, port 0 = any that is free")] = f"127.0.0.1:{XDS_PORT}",
    state_dir: Annotated[Path, typer.Option(help="for the last good text of broken documents")] = Path(
        "/var/lib/tidegate-xds"
    ),
    cluster_domain: ClusterDomainOption = "",
) -> None:
    """Serve xDS on TCP until SIGTERM: LDS, RDS, CDS, EDS, ADS, CSDS, to sidecars, Envoys and gRPC.

    Whoever reaches the address reads the configuration, but no secrets.
    """
    from tidegate.discovery import serve

    try:
        address, port = listen_address(listen, "--listen")
        for source in config:
            check_source(source)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    asyncio.run(serve(config, address, port, state_dir, socket.gethostname()))
