"""An HTTP/1 server behind TLS or the PROXY protocol, and certificates for it, made by openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS
from tests.support.http_origin import Conversation, Origin

_CA = """
[ca]
default_ca = here
[here]
database = {0}/index
serial = {0}/serial
new_certs_dir = {0}
certificate = {0}/ca.pem
private_key = {0}/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


class Authority:
    """Signs certificates into a folder, as NAME.pem and NAME.key; its own is ca.pem, the revoked ones are crl.pem."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "index").touch()
        (folder / "serial").write_text("01\n")
        (folder / "ca.conf").write_text(_CA.format(folder))
        self._key("ca", "-x509", "-subj", "/CN=test authority", "-out", str(folder / "ca.pem"))
        self.revoke()

    def sign(self, name: str, *subjects: str) -> None:
        """subjects: DNS:a.example, IP:127.0.0.1, URI:spiffe://a/b."""
        names = ["-addext", f"subjectAltName={','.join(subjects)}"] if subjects else []
        request = self.folder / f"{name}.csr"
        self._key(name, "-subj", f"/CN={name}", *names, "-out", str(request))
        self._ca("-batch", "-notext", "-in", str(request), "-out", str(self.folder / f"{name}.pem"))

    def revoke(self, name: str = "") -> None:
        """Put a certificate on the list."""
        if name:
            self._ca("-revoke", str(self.folder / f"{name}.pem"))
        self._ca("-gencrl", "-out", str(self.folder / "crl.pem"))

    def _key(self, name: str, *more: str) -> None:
        key = str(self.folder / f"{name}.key")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
        _openssl("req", "-new", *curve, *more)

    def _ca(self, *more: str) -> None:
        _openssl("ca", "-config", str(self.folder / "ca.conf"), *more)


def _openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True)


@dataclass
class Handshake:
    """What a client said."""

    name: str | None = None  # SNI
    protocol: str | None = None  # ALPN
    client: str = ""  # common name of its certificate
    uris: tuple[str, ...] = ()  # in it
    serial: str = ""  # its number, hexadecimal


class TlsOrigin(Origin):
    """handshakes: those that succeeded."""

    def __init__(self, authority: Authority, name: str, *, clients: bool = False) -> None:
        """name: of the certificate. clients: they need one of the same authority."""
        super().__init__()
        self.handshakes: list[Handshake] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._context.sni_callback = self._hear
        if clients:
            self._context.load_verify_locations(authority.folder / "ca.pem")
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._asked: dict[int, str | None] = {}

    def _hear(self, sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        self._asked[id(sock)] = name

    def _opened(self, sock: socket.socket) -> Conversation:
        wrapped = self._context.wrap_socket(sock, server_side=True)
        certificate: dict[str, Any] = wrapped.getpeercert() or {}
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        uris = tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
        self.handshakes.append(
            Handshake(
                self._asked.pop(id(wrapped), None),
                wrapped.selected_alpn_protocol(),
                "".join(names),
                uris,
                certificate.get("serialNumber", "").lower().lstrip("0"),
            )
        )
        if wrapped.selected_alpn_protocol() == "h2":
            wrapped.close()
            raise EOFError  # it can say that it knows HTTP/2, and no more
        return Conversation(wrapped)


class ProxiedOrigin(Origin):
    """headers: of the PROXY protocol, as they came (of version 2 the 12 bytes of its signature and the rest)."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[bytes] = []

    def _opened(self, sock: socket.socket) -> Conversation:
        self.headers.append(read_proxy_header(sock))
        return Conversation(sock)


class ProxiedTlsOrigin(TlsOrigin):
    """TLS behind the PROXY protocol. headers: as of ProxiedOrigin."""

    def __init__(self, authority: Authority, name: str) -> None:
        super().__init__(authority, name)
        self.headers: list[bytes] = []

    def _opened(self, sock: socket.socket) -> Conversation:
        self.headers.append(read_proxy_header(sock))
        return super()._opened(sock)


def read_proxy_header(sock: socket.socket) -> bytes:
    """The header of either version, and not a byte of what comes behind it."""
    sock.settimeout(HANG_SECONDS)
    start = _exactly(sock, 12)
    if not start.startswith(b"PROXY "):
        rest = _exactly(sock, 4)
        return start + rest + _exactly(sock, int.from_bytes(rest[2:], "big"))
    while not start.endswith(b"\r\n"):
        start += _exactly(sock, 1)
    return start


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = sock.recv(size - len(got))
        if not more:
            raise EOFError
        got += more
    return got
