"""`tidegate gateway`: run a gateway in the foreground. Its options are the fields of settings.GatewaySettings."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from inspect import Signature
from typing import Any

import typer

from tidegate import settings as table
from tidegate.cli.agent import option
from tidegate.errors import Rejected
from tidegate.model.names import use_cluster_domain
from tidegate.model.tls_files import use_own_tls_files
from tidegate.runtime.collector import importing


def register(app: typer.Typer) -> None:
    app.command("gateway")(run)


def run(**flags: Any) -> None:
    """Run the gateway of a workload (ingress or egress) until SIGTERM, which lets its connections finish.

    Every option can also be given as TIDEGATE_<NAME>.
    """
    try:
        settings = table.gateway_from_environment(flags)
        use_cluster_domain(settings.cluster_domain)
        use_own_tls_files()
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    with importing():
        from tidegate.gateway.app import serve

    asyncio.run(serve(settings))


# Typer reads a command's options from its signature.
_OPTIONS = [option(f, table.GatewaySettings) for f in fields(table.GatewaySettings)]
run.__signature__ = Signature(_OPTIONS)  # type: ignore[attr-defined]


def print_status(gateway: dict[str, Any]) -> None:
    """What `tidegate status` says of a gateway, below its name."""
    envoy = gateway["envoy"]
    print(f"  envoy   {envoy['state']}, pid {envoy['pid']}, restarts {envoy['restarts']}")
    applied = gateway["applied"]
    problems = gateway["config"]["problems"]
    print(f"  config  revision {applied['revision']}, generation {applied['generation']}, {len(problems)} problems")
    for port in gateway["ports"]:
        for server in port["servers"]:
            tls = f" {server['tls']}" if server["tls"] else ""
            print(
                f"  port {port['port']} ({port['address']}:{port['listen']})  {server['protocol']}{tls}  "
                f"{', '.join(server['hosts'])}  ({server['gateway']})"
            )
    for failure in gateway["appliers"]["envoy"]["failures"]:
        print(f"  left out: {failure['item']}: {failure['reason']} (from {', '.join(failure['origins'])})")
