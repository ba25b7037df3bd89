"""The option of commands that read files without an agent: what the names of the cluster's services end with."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.errors import Rejected
from tidegate.model.names import use_cluster_domain


def use(domain: str) -> str:
    """Takes it for this process. Raises BadParameter if it is no domain name."""
    try:
        use_cluster_domain(domain)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    return domain


ClusterDomainOption = Annotated[
    str,
    typer.Option(
        "--cluster-domain",
        envvar="TIDEGATE_CLUSTER_DOMAIN",
        callback=use,
        help="what names of services end with; default: cluster.local",
    ),
]
