"""`tidegate ca`: an authority for the nodes of a mesh, by Istio's API. Needs no root."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.domain import ClusterDomainOption
from tidegate.errors import Rejected
from tidegate.identity.root_change import RootStep
from tidegate.identity.root_change import change_root as change_to
from tidegate.model.identity import TRUST_DOMAIN
from tidegate.model.names import cluster_domain
from tidegate.runtime.collector import importing
from tidegate.settings import CA_PORT, DEFAULT_CA_DIR, DEFAULT_CA_STATE_DIR, check_source, listen_address

_ANYWHERE = ("0.0.0.0", "::")


def register(app: typer.Typer) -> None:
    app.command("ca")(ca)


def ca(
    listen: Annotated[
        str, typer.Option(help="ADDRESS:PORT for callers with a token, port 0 = any that is free")
    ] = f"127.0.0.1:{CA_PORT}",
    listen_mtls: Annotated[
        str, typer.Option(help="ADDRESS:PORT for callers with a certificate of the mesh; default: none")
    ] = "",
    ca_dir: Annotated[
        Path,
        typer.Option(
            help="root-cert.pem and root-key.pem, made if they are not there; or ca-cert.pem, ca-key.pem, "
            "cert-chain.pem, root-cert.pem of an authority below a root; trusted-roots.pem: further roots"
        ),
    ] = DEFAULT_CA_DIR,
    callers: Annotated[
        Path | None, typer.Option(help="who may ask for whom: TOML of [[caller]] name, token_sha256 or account, may")
    ] = None,
    token_keys: Annotated[
        Path | None, typer.Option(help="JWKS that verifies tokens of service accounts (/openid/v1/jwks)")
    ] = None,
    cluster: Annotated[
        str,
        typer.Option(
            help="kube or kube:KUBECONFIG: asked whose a token is (unless --token-keys says) and which pods a node has"
        ),
    ] = "",
    crl: Annotated[
        Path | None, typer.Option(help="lists of revoked certificates: who shows such a one is nobody")
    ] = None,
    audience: Annotated[str, typer.Option(help="that tokens have to be for")] = "istio-ca",
    issuer: Annotated[str, typer.Option(help="that tokens have to be from; default: any whose key is there")] = "",
    trust_domain: Annotated[
        list[str] | None,
        typer.Option(help="of identities that are certified; may be repeated; default: the cluster domain"),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="host name or address by which callers know it; may be repeated; default: host name, address"
        ),
    ] = None,
    certificate_seconds: Annotated[
        float, typer.Option(help="how long a certificate is good if its caller does not say", min=10, max=31_536_000)
    ] = 86_400.0,
    most_seconds: Annotated[
        float, typer.Option(help="how long at most, whatever a caller says", min=10, max=31_536_000)
    ] = 90 * 86_400.0,
    rate: Annotated[float, typer.Option(help="certificates each second that a caller gets", min=0.01, max=1e6)] = 20.0,
    burst: Annotated[int, typer.Option(help="certificates at once that a caller gets", min=1, max=1_000_000)] = 1000,
    metrics_port: Annotated[int, typer.Option(help="localhost port of /metrics, 0 = none", min=0, max=65535)] = 0,
    change_root: Annotated[
        RootStep | None, typer.Option(help="do this step of a change of the root in --ca-dir, and exit")
    ] = None,
    state_dir: Annotated[Path, typer.Option(help="for the socket that `tidegate status` asks")] = DEFAULT_CA_STATE_DIR,
    cluster_domain_: ClusterDomainOption = "",
) -> None:
    """Certify workloads until SIGTERM, by IstioCertificateService/CreateCertificate over TLS (Istio's agents, ztunnel).

    A caller is known by a word of the table, by the token of its service account or by its certificate. It gets what
    its account is, and whom the table says. Each answer is a line of JSON on stderr.
    """
    if change_root is not None:
        domain = (trust_domain or [cluster_domain()])[0]
        print(change_to(change_root, ca_dir, domain, time.time()))
        return
    with importing():
        from tidegate.ca.app import AuthorityOptions, serve
        from tidegate.ca.issuing import Bounds

    try:
        address = listen_address(listen, "--listen")
        options = AuthorityOptions(
            listen=address,
            with_certificates=listen_address(listen_mtls, "--listen-mtls") if listen_mtls else None,
            folder=ca_dir,
            state=state_dir,
            trust_domains=_domains(trust_domain or [cluster_domain()]),
            names=tuple(
                name or dict.fromkeys((socket.gethostname(), *([] if address[0] in _ANYWHERE else [address[0]])))
            ),
            bounds=Bounds(certificate_seconds, 10.0, most_seconds),
            each_second=rate,
            burst=burst,
            callers=callers,
            token_keys=token_keys,
            cluster=_cluster(cluster),
            crl=crl,
            audience=audience,
            issuer=issuer,
            metrics_port=metrics_port,
        )
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    asyncio.run(serve(options))


def _cluster(said: str) -> str:
    if said and said.partition(":")[0] != "kube":
        raise Rejected(f"--cluster {said}", "is no cluster", "write kube or kube:KUBECONFIG")
    if said:
        check_source(said, flag="--cluster")
    return said


def _domains(said: list[str]) -> tuple[str, ...]:
    for one in said:
        if not TRUST_DOMAIN.fullmatch(one):
            raise Rejected(f"--trust-domain {one}", "is no trust domain", "use small letters, digits, '-', '.' and '_'")
    return tuple(dict.fromkeys(said))
