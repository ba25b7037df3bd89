"""How a process gets to the small API server: over TLS, by a kubeconfig."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.kube.fake_api import FakeApi

NAME = "kubernetes.default.svc"


def of_the_server(directory: Path) -> ssl.SSLContext:
    """What the server shows; its certificate and its authority's stand in the directory."""
    authority = Authority("of the cluster")
    pair = authority.issue(NAME)
    (directory / "server.pem").write_bytes(pair.certificate + pair.key)
    (directory / "ca.pem").write_bytes(authority.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.pem")
    return context


def write_kubeconfig(directory: Path, api: FakeApi) -> Path:
    """`config` in a directory that of_the_server() filled, with the right to do everything."""
    ca = base64.b64encode((directory / "ca.pem").read_bytes()).decode()
    path = directory / "config"
    path.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{api.address}', tls-server-name: {NAME}, "
        f"certificate-authority-data: {ca}}}}}]\n"
        f"users: [{{name: u, user: {{token: {api.token}}}}}]\n"
    )
    return path
