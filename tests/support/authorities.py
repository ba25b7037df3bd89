"""Folders of authorities below a root whose key is elsewhere, as operators make them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Signer:
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def signer(name: str, above: Signer | None = None, *, of_rsa: bool = False, authority: bool = True) -> Signer:
    """above: who signs it; None: itself."""
    key: Any = rsa.generate_private_key(65537, 2048) if of_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Signer(builder.sign(above.key if above else key, hashes.SHA256()), key)


def below(folder: Path, own: Signer, above: list[Signer], roots: list[Signer]) -> Path:
    """By the names of Istio's plug-in certificates."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "ca-cert.pem").write_bytes(own.pem)
    key = own.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "ca-key.pem").write_bytes(key)
    (folder / "ca-key.pem").chmod(0o600)
    (folder / "cert-chain.pem").write_bytes(b"".join(one.pem for one in (own, *above)))
    (folder / "root-cert.pem").write_bytes(b"".join(one.pem for one in roots))
    return folder
