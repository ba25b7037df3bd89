"""Where the API server is, and as whom it is asked: the files of a pod's service account, or a kubeconfig.

Both are read again whenever a connection is made, because tokens and certificates are replaced under a running process.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import yaml

from tidegate.errors import Rejected
from tidegate.settings import CLUSTER_HOST

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNKNOWN = {
    "exec": "a program that tells who we are",
    "auth-provider": "a login of another service",
    "username": "a password",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection needs. Secrets are not shown."""

    server: str  # https://HOST:PORT, perhaps with a path; no slash at its end
    ca: bytes | None = None  # PEM; None: whom the machine trusts
    verify: bool = True
    tls_name: str = ""  # that the certificate has to have; empty: that of the server
    token: str = ""
    certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return f"Access({self.server})"

    @property
    def tls(self) -> bool:
        return self.server.startswith("https:")

    def context(self) -> ssl.SSLContext:
        """How the server is known, and we are to it. Raises Rejected for what is no certificate."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode("ascii") if self.ca else None)
            if not self.verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self.certificate:
                _own_certificate(context, self.certificate, self.key)
        except (ssl.SSLError, ValueError) as error:
            raise Rejected(f"API server {self.server}", f"its certificates cannot be used: {error}") from None
        return context


class AccessSource(Protocol):
    """Says how to get to the API server, as it is now. Blocks, and raises Rejected."""

    def __call__(self) -> Access: ...


def in_cluster(environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> AccessSource:
    """As a pod of the cluster (settings.check_source says whether this is one)."""
    host, port = environ.get(CLUSTER_HOST, ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def now() -> Access:
        return Access(server, ca=_file(account / "ca.crt"), token=_file(account / "token").decode().strip())

    return now


def kubeconfig(path: Path) -> AccessSource:
    """As the current context of a kubeconfig says. Nothing is read before it is called."""
    return lambda: _from_kubeconfig(path)


def _from_kubeconfig(path: Path) -> Access:
    subject = f"kubeconfig {path}"
    try:
        config = yaml.safe_load(_file(path))
    except yaml.YAMLError as error:
        raise Rejected(subject, f"is not YAML: {error}") from None
    if not isinstance(config, Mapping):
        raise Rejected(subject, "is no kubeconfig", "write one with kubectl config view --raw --minify")
    context = _entry(config, "context", str(config.get("current-context") or ""), subject)
    cluster = _entry(config, "cluster", str(context.get("cluster") or ""), subject)
    user = _entry(config, "user", str(context.get("user") or ""), subject) if context.get("user") else {}
    for field, what in _UNKNOWN.items():
        if field in user:
            raise Rejected(
                subject, f"user has {field} ({what}), which is not supported", "use a token or a certificate"
            )
    server = str(cluster.get("server") or "").rstrip("/")
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
        raise Rejected(subject, f"server {server!r} is no address", "write https://HOST:PORT")
    if cluster.get("proxy-url"):
        raise Rejected(subject, "cluster has proxy-url, which is not supported", "name the server itself")
    token = str(user.get("token") or "")
    if user.get("tokenFile"):
        token = _file(path.parent / str(user["tokenFile"])).decode().strip()
    return Access(
        server=server,
        ca=_material(cluster, "certificate-authority", path, subject) or None,
        verify=not cluster.get("insecure-skip-tls-verify"),
        tls_name=str(cluster.get("tls-server-name") or ""),
        token=token,
        certificate=_material(user, "client-certificate", path, subject),
        key=_material(user, "client-key", path, subject),
    )


def _entry(config: Mapping[str, Any], sort: str, name: str, subject: str) -> Mapping[str, Any]:
    entries = config.get(f"{sort}s")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name and isinstance(entry.get(sort), Mapping):
            found: Mapping[str, Any] = entry[sort]
            return found
    what = "current-context" if sort == "context" else f"{sort} of the current context"
    raise Rejected(subject, f"{what}: there is no {sort} {name!r}")


def _material(entry: Mapping[str, Any], field: str, path: Path, subject: str) -> bytes:
    """What stands in the file, or is named by it."""
    if data := entry.get(f"{field}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise Rejected(subject, f"{field}-data is not base64") from None
    return _file(path.parent / str(entry[field])) if entry.get(field) else b""


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(str(path), f"cannot be read: {error.strerror}") from None


def _own_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads certificates from files only; this one is in memory."""
    with os.fdopen(os.memfd_create("client certificate", os.MFD_CLOEXEC), "wb") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
