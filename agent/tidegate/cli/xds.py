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
from tidegate.model.tls_files import use_own_tls_files
from tidegate.runtime.collector import importing
from tidegate.settings import XDS_PORT, check_source, listen_address, namespace_socket

_STATE = "for the last good text of broken documents, and the socket that `tidegate status` asks"
_SECRETS = "NAMESPACE=PATH, a unix socket where clients of that namespace get its Secrets, too; may be repeated"


def register(app: typer.Typer) -> None:
    app.command("xds")(xds)


def xds(
    config: Annotated[list[str], typer.Option(help="where configuration comes from: file:DIR, kube, kube:KUBECONFIG")],
    listen: Annotated[str, typer.Option(help="ADDRESS:PORT, port 0 = any that is free")] = f"127.0.0.1:{XDS_PORT}",
    secrets: Annotated[list[str] | None, typer.Option(help=_SECRETS)] = None,
    metrics_port: Annotated[int, typer.Option(help="localhost port of /metrics, 0 = none", min=0, max=65535)] = 0,
    state_dir: Annotated[
        Path,
        typer.Option(help="for the last good text of broken documents, and the socket that `tidegate status` asks"),
    ] = Path("/var/lib/tidegate-xds"),
    cluster_domain: ClusterDomainOption = "",
) -> None:
    """Serve xDS until SIGTERM: LDS, RDS, CDS, EDS, SDS, ADS, CSDS, to sidecars, Envoys and gRPC.

    Whoever reaches the address reads the configuration, but no secrets. Files that rules name are the clients' own.
    """
    with importing():
        from tidegate.discovery import serve
        from tidegate.xds.services import NamespaceSocket

    try:
        sockets = [NamespaceSocket(*namespace_socket(text, "--secrets")) for text in secrets or ()]
        address, port = listen_address(listen, "--listen")
        for source in config:
            check_source(source)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    use_own_tls_files()
    asyncio.run(serve(config, address, port, state_dir, socket.gethostname(), sockets, metrics_port))
