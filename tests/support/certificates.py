"""Certificates for tests: authorities, what they sign, and lists of what they take back. All in PEM."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_BEGIN, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key."""

    certificate: bytes
    key: bytes
    parsed: x509.Certificate

    def secret(self, name: str, *, namespace: str = "istio-system", ca: bytes = b"", crl: bytes = b"") -> str:
        """As a Secret of type kubernetes.io/tls."""
        lines = {"tls.crt": self.certificate, "tls.key": self.key, "ca.crt": ca, "ca.crl": crl}
        return secret(name, {key: pem for key, pem in lines.items() if pem}, namespace=namespace)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "authority", above: Authority | None = None) -> None:
        """above: who signs its own certificate; itself, if nobody does."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = above or self
        builder = _builder(self._name, signer._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        signed = builder.sign(signer._key, SHA256())
        self.certificate = signed.public_bytes(Encoding.PEM)
        self.own = Pair(self.certificate, private(self._key), signed)

    def issue(self, *names: str, key: Key | None = None) -> Pair:
        """A certificate for these names and addresses, the first of which is also its subject."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        made = _builder(subject, self._name, key).add_extension(alternatives, critical=False)
        signed = made.sign(self._key, SHA256())
        return Pair(signed.public_bytes(Encoding.PEM), private(key), signed)

    def revoke(self, *pairs: Pair) -> bytes:
        """The list of what it signed and takes back."""
        builder = x509.CertificateRevocationListBuilder(self._name, _BEGIN, _END)
        for pair in pairs:
            serial = pair.parsed.serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_BEGIN).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def private(key: Key, passphrase: bytes = b"") -> bytes:
    """A key in PEM."""
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def secret(name: str, values: dict[str, bytes], *, namespace: str = "istio-system") -> str:
    """A Secret document with these values."""
    lines = "\n".join(f"  {key}: {base64.b64encode(value).decode()}" for key, value in values.items())
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
data:
{lines}
"""


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN + timedelta(days=1))
        .not_valid_after(_END)
    )
