"""Who may talk to the API server: an authority, its server certificate, and a kubeconfig with a token for each user."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certificates import Authority, private

MASTERS = "system:masters"
NODES = "system:nodes"
# User of the API by the name of its kubeconfig -> (what the API calls it, its group).
COMPONENTS = {
    "admin": ("admin", MASTERS),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "guest": ("guest", ""),  # may do nothing until a story binds it to a role
}


@dataclass(frozen=True, slots=True)
class Pki:
    """Files below one folder, for the owner's eyes only."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.csv"

    def kubeconfig(self, user: str, where: str = "inside") -> Path:
        """Kubeconfig of a user of COMPONENTS or a node; where: see write_kubeconfigs()."""
        return self.folder / where / f"{user}.kubeconfig"

    def token(self, user: str) -> str:
        """What a user of COMPONENTS or a node shows to the API server."""
        rows = (line.split(",") for line in self.tokens.read_text().splitlines())
        return next(token for token, _, uid, *_ in rows if uid == user)

    def users(self) -> list[str]:
        """Names of all kubeconfigs."""
        return [line.split(",")[2] for line in self.tokens.read_text().splitlines()]


def make(folder: Path, addresses: list[str], nodes: list[str]) -> Pki:
    """Make everything but kubeconfigs in a new folder.

    addresses: names and addresses by which the API server is dialled. nodes: all that there will ever be, because the
    file of tokens is read once.
    """
    folder.mkdir(mode=0o700)
    authority = Authority("tidegate-kube")
    served = authority.issue("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", *addresses)
    account = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = account.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {"ca.crt": authority.certificate, "api.crt": served.certificate, "api.key": served.key}
    files |= {"sa.key": private(account), "sa.pub": public}
    users = {**COMPONENTS, **{node: (f"system:node:{node}", NODES) for node in nodes}}
    rows = [token_row(secrets.token_hex(16), called, name, group) for name, (called, group) in users.items()]
    files["tokens.csv"] = "".join(rows).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Pki(folder)


def token_row(token: str, called: str, uid: str, group: str) -> str:
    """A line of a file of static tokens."""
    return f"{token},{called},{uid}" + (f',"{group}"\n' if group else "\n")


def write_kubeconfigs(pki: Pki, where: str, server: str) -> None:
    """One for each user; where: the folder of those who reach the API server under this URL."""
    (pki.folder / where).mkdir(exist_ok=True)
    for user in pki.users():
        pki.kubeconfig(user, where).write_text(json.dumps(_kubeconfig(pki, user, server), indent=1))


def _kubeconfig(pki: Pki, user: str, server: str) -> dict[str, Any]:
    # JSON is YAML, and needs no quoting.
    cluster = {"server": server, "certificate-authority": str(pki.authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tidegate", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": pki.token(user)}}],
        "contexts": [{"name": "tidegate", "context": {"cluster": "tidegate", "user": user}}],
        "current-context": "tidegate",
    }
