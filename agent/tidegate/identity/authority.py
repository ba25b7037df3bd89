"""The embedded authority: a root of one's own on disk, which signs for the workloads of this machine.

Blocks (disk, arithmetic): for a thread. The root's key never leaves its file and this process. Two agents, or an agent
and a gateway, that share the folder have the same root: who comes second waits for the first and reads what it wrote.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tidegate.errors import Rejected
from tidegate.model.identity import Certified, Identity

ROOT_KEY, ROOT_CERTIFICATE = "root-key.pem", "root-cert.pem"
ROOT_DAYS = 3650
# A certificate counts from before it was made: clocks of other machines may be behind (Istio's CA does the same).
BEFORE = timedelta(minutes=2)


class Authority:
    """Signs. Made by open_authority()."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self.roots = certificate.public_bytes(Encoding.PEM)

    def issue(self, identity: Identity, trust_domain: str, now: float, lifetime: float) -> Certified:
        """A certificate for servers and clients with a new key. now: seconds since the epoch; lifetime: seconds.
        Raises Rejected when the root itself is not good for as long any more."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = datetime.fromtimestamp(now, UTC)
        end = begin + timedelta(seconds=lifetime)
        if end > self._certificate.not_valid_after_utc:
            raise Rejected(
                "the mesh's root certificate",
                f"is good until {self._certificate.not_valid_after_utc:%Y-%m-%d} only",
                f"move {ROOT_CERTIFICATE} and {ROOT_KEY} away: a new root is made",
            )
        serial = x509.random_serial_number()
        name = x509.UniformResourceIdentifier(identity.spiffe(trust_domain))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(begin - BEFORE)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)  # as there is no subject
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return Certified(
            identity=identity,
            trust_domain=trust_domain,
            chain=leaf.public_bytes(Encoding.PEM),
            key=_pem(key),
            roots=self.roots,
            issued=now,
            expires=end.timestamp(),
            serial=f"{serial:x}",
        )


def open_authority(folder: Path, trust_domain: str, now: float) -> Authority:
    """The authority of a folder; what is not there is made. Raises OSError, and Rejected for one of no use."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder):
        path = folder / ROOT_CERTIFICATE
        if path.exists() and not (folder / ROOT_KEY).exists():
            raise Rejected(str(path), f"is there without its key {ROOT_KEY}", "restore the key, or move both away")
        key = _key(folder / ROOT_KEY)
        if not path.exists():
            _write(path, _root(key, trust_domain, now).public_bytes(Encoding.PEM), 0o644)
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            same = certificate.public_key() == key.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Rejected(str(path), f"is no certificate: {error}", "restore it, or move both files away") from None
        if not same:
            raise Rejected(str(path), f"is not of the key in {ROOT_KEY}", "restore the one that is, or move both away")
        return Authority(certificate, key)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        _write(path, _pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Rejected(str(path), f"can be read by others (mode {mode:04o})", f"chmod 600 {path}, or make a new root")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Rejected(str(path), f"is no key that can be used: {error}", "restore it") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Rejected(str(path), "is no key of an elliptic curve", "use one of P-256 or P-384")
    return key


def _root(key: ec.EllipticCurvePrivateKey, trust_domain: str, now: float) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64])])
    begin = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - BEFORE)
        .not_valid_after(begin + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(**said: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: said.get(name, False) for name in names})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """All of it or nothing, and never with more rights than these."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    beside.rename(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process makes a root here meanwhile."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
