"""KeyMaker of workloads, and the requests by which an authority is asked to certify them.

An authority sees a request and never a key, so it makes no difference to it where the key is: here, or in a process of
which only the request comes (a KeyMaker of another kind).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True, slots=True)
class NewKey:
    """A request (PKCS #10) and its key, in PEM."""

    request: bytes
    key: bytes = field(repr=False)  # empty: it stays where it was made


class KeyMaker(Protocol):
    """Who makes keys. Calls block, and raise OSError or TidegateError."""

    def new(self, spiffe: str) -> NewKey:
        """A key that nobody had before, and a request for a certificate of this name."""


class KeysInMemory:
    """In this process, for who has to hand them on: Envoy."""

    def new(self, spiffe: str) -> NewKey:
        """See KeyMaker: ECDSA on P-256, as ztunnel's."""
        key = new_key()
        return NewKey(request_for(key, spiffe), pem_of(key))


def new_key() -> ec.EllipticCurvePrivateKey:
    """Of P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def request_for(key: ec.EllipticCurvePrivateKey, spiffe: str) -> bytes:
    """Without a subject, and so with a critical name (RFC 5280 4.2.1.6), as ztunnel's src/tls/csr.rs."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8 without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
