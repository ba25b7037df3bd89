"""A server that has a certificate of the mesh and asks its clients for theirs, and an authority to sign both."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.tls_origin import TlsOrigin
from tidegate.identity.authority import Authority, open_authority
from tidegate.identity.keys import new_key, pem_of
from tidegate.model.identity import Certified, Identity

DOMAIN = "cluster.local"
HOUR = 3600.0


def mesh_authority(folder: Path) -> Authority:
    """An embedded authority of its own."""
    return open_authority(folder, DOMAIN, time.time())


def certified(authority: Authority, account: str, *, domain: str = DOMAIN, lifetime: float = HOUR) -> Certified:
    """A certificate of default/ACCOUNT."""
    return issued(authority, Identity("default", account), domain, time.time(), lifetime)


def issued(authority: Authority, identity: Identity, domain: str, now: float, lifetime: float) -> Certified:
    """A certificate of an identity, with a key of its own. now, lifetime: seconds."""
    key, spiffe = new_key(), identity.spiffe(domain)
    signed = authority.sign(key.public_key(), spiffe, now, lifetime)
    return Certified(identity, domain, signed.chain, pem_of(key), signed.roots, now, now + lifetime, signed.serial)


class MeshOrigin(TlsOrigin):
    """Clients need a certificate of the same authority; whose each showed is in its handshake."""

    def __init__(self, folder: Path, own: Certified, *protocols: str) -> None:
        """folder: for files of its own. own: what it shows. protocols: those that it knows (ALPN)."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.pem").write_bytes(own.chain)
        (folder / "server.key").write_bytes(own.key)
        (folder / "ca.pem").write_bytes(own.roots)
        where: Any = SimpleNamespace(folder=folder)
        super().__init__(where, "server", clients=True)
        self._context.set_alpn_protocols(list(protocols) or ["istio"])

    def shown(self) -> list[tuple[str, ...]]:
        """Names in the certificates of clients, in the order of their handshakes."""
        return [handshake.uris for handshake in self.handshakes]

    @property
    def serials(self) -> list[str]:
        """Numbers of clients' certificates, likewise."""
        return [handshake.serial for handshake in self.handshakes]


def context_of(folder: Path, own: Certified | None) -> ssl.SSLContext:
    """A client with, or without, a certificate of the mesh, that believes whomever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if own is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "client.pem").write_bytes(own.chain + own.key)
        context.load_cert_chain(folder / "client.pem")
    return context
