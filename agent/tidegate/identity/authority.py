"""An authority: its key on disk, which signs for workloads.

Blocks (disk, arithmetic): for a thread. The key never leaves its file and this process. Two processes that share the
folder have the same authority: who comes second waits for the first and reads what it wrote.

A folder has either a root of its own (root-cert.pem, root-key.pem; made when it is not there), or, by the names of
Istio's plug-in certificates, an authority below a root whose key is elsewhere: ca-cert.pem, ca-key.pem, cert-chain.pem,
root-cert.pem. trusted-roots.pem may name further roots that the mesh trusts: those of before and after, while the root
changes.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tidegate.errors import Rejected
from tidegate.identity.chains import UNREADABLE, certificates_in, signed_by_one_of
from tidegate.identity.keys import new_key, pem_of

ROOT_KEY, ROOT_CERTIFICATE = "root-key.pem", "root-cert.pem"
BELOW_KEY, BELOW_CERTIFICATE, ABOVE = "ca-key.pem", "ca-cert.pem", "cert-chain.pem"
MORE_ROOTS = "trusted-roots.pem"
FILES = (ROOT_KEY, ROOT_CERTIFICATE, BELOW_KEY, BELOW_CERTIFICATE, ABOVE, MORE_ROOTS)
ROOT_DAYS = 3650
# A certificate counts from before it was made: clocks of other machines may be behind (Istio's CA does the same).
BEFORE = timedelta(minutes=2)
_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Signed:
    """What an authority gave, in PEM: the leaf first and who is between it and a root; then who may sign others'."""

    chain: bytes
    roots: bytes
    serial: str = ""  # of the leaf, hexadecimal; empty: whoever wants it reads it there


class Authority:
    """Signs. Made by open_authority()."""

    def __init__(self, certificate: x509.Certificate, key: SigningKey, above: bytes, roots: bytes) -> None:
        """certificate: of the key. above: those between it and its root, itself included; empty if it is the root."""
        self._certificate = certificate
        self._key = key
        self._above = above
        self.roots = roots

    @property
    def name(self) -> str:
        """As certificates call it."""
        return self._certificate.subject.rfc4514_string()

    @property
    def expires(self) -> float:
        """Seconds since the epoch."""
        return self._certificate.not_valid_after_utc.timestamp()

    def sign(self, public: CertificatePublicKeyTypes, spiffe: str, now: float, lifetime: float) -> Signed:
        """A certificate of a workload, for servers and clients. now: seconds since the epoch; lifetime: seconds.
        Raises Rejected when this authority itself is not good for as long any more."""
        name = x509.UniformResourceIdentifier(spiffe)
        return self._leaf(public, x509.SubjectAlternativeName([name]), _BOTH, now, lifetime)

    def sign_server(
        self, public: CertificatePublicKeyTypes, names: Sequence[str], now: float, lifetime: float
    ) -> Signed:
        """As sign(), of a server that its clients know by host names or addresses."""
        found = x509.SubjectAlternativeName([_host_name(name) for name in names])
        return self._leaf(public, found, (ExtendedKeyUsageOID.SERVER_AUTH,), now, lifetime)

    def _leaf(
        self,
        public: CertificatePublicKeyTypes,
        names: x509.SubjectAlternativeName,
        uses: Sequence[ObjectIdentifier],
        now: float,
        lifetime: float,
    ) -> Signed:
        begin = datetime.fromtimestamp(now, UTC)
        end = begin + timedelta(seconds=lifetime)
        if end > self._certificate.not_valid_after_utc:
            raise Rejected(
                "the mesh's root certificate" if not self._above else f"the certificate of authority {self.name}",
                f"is good until {self._certificate.not_valid_after_utc:%Y-%m-%d} only",
                f"move {ROOT_CERTIFICATE} and {ROOT_KEY} away: a new root is made" if not self._above else "replace it",
            )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - BEFORE)
            .not_valid_after(end)
            .add_extension(names, critical=True)  # as there is no subject
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return Signed(leaf.public_bytes(Encoding.PEM) + self._above, self.roots, f"{leaf.serial_number:x}")


def open_authority(folder: Path, trust_domain: str, now: float, *, make: bool = True) -> Authority:
    """The authority of a folder; a root that is not there is made. make: no = it has to be there.
    Raises OSError, and Rejected for one of no use."""
    if make:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(folder):
        if (folder / BELOW_CERTIFICATE).exists():
            return _below(folder)
        path = folder / ROOT_CERTIFICATE
        if path.exists() and not (folder / ROOT_KEY).exists():
            raise Rejected(str(path), f"is there without its key {ROOT_KEY}", "restore the key, or move both away")
        if not (folder / ROOT_KEY).exists() and not make:
            raise Rejected(str(path), "is not there any more", "restore it with its key")
        certificate = new_root(folder / ROOT_KEY, path, trust_domain, now)
        return Authority(certificate, _key(folder / ROOT_KEY), b"", _bundle(folder, [certificate]))


def _below(folder: Path) -> Authority:
    """An authority whose root's key is elsewhere."""
    path = folder / BELOW_CERTIFICATE
    key = _key(folder / BELOW_KEY)
    certificate = _certificate_of(path, key, BELOW_KEY)
    if not _may_sign(certificate):
        raise Rejected(str(path), "is not of an authority: it may not sign certificates", "make one with CA:TRUE")
    roots = _several(folder / ROOT_CERTIFICATE)
    above = _several(folder / ABOVE) if (folder / ABOVE).exists() else []
    between = [certificate, *(one for one in above if one not in (certificate, *roots))]
    for lower, upper in itertools.pairwise(between):
        if not signed_by_one_of(lower, [upper]):
            raise Rejected(str(folder / ABOVE), "is not in order", "write who signed first, then who signed that")
    if not signed_by_one_of(between[-1], roots):
        raise Rejected(str(path), f"is not signed by a root in {ROOT_CERTIFICATE}, by way of {ABOVE}", "give the chain")
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in between)
    return Authority(certificate, key, pem, _bundle(folder, roots))


def _bundle(folder: Path, roots: Sequence[x509.Certificate]) -> bytes:
    """Who may sign certificates of the mesh: the own first."""
    more = folder / MORE_ROOTS
    found = [*roots, *(_several(more) if more.exists() else ())]
    for one in found:
        if not _may_sign(one):
            raise Rejected(str(more), f"{one.subject.rfc4514_string()} is no authority", "leave it out")
    return b"".join(dict.fromkeys(one.public_bytes(Encoding.PEM) for one in found))


def _several(path: Path) -> list[x509.Certificate]:
    try:
        return certificates_in(path.read_bytes())
    except ValueError as error:
        raise Rejected(str(path), f"has no certificates that can be used: {error}", "restore it") from None


def _may_sign(one: x509.Certificate) -> bool:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def _certificate_of(path: Path, key: SigningKey, named: str) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        same = certificate.public_key() == key.public_key()
    except UNREADABLE as error:
        raise Rejected(str(path), f"is no certificate: {error}", "restore it, or move both files away") from None
    if not same:
        raise Rejected(str(path), f"is not of the key in {named}", "restore the one that is, or move both away")
    return certificate


def _key(path: Path) -> SigningKey:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Rejected(str(path), f"can be read by others (mode {mode:04o})", f"chmod 600 {path}, or make a new root")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Rejected(str(path), f"is no key that can be used: {error}", "restore it") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048):
        return key
    raise Rejected(str(path), "is no key that servers take", "use one of P-256 or P-384, or RSA of 2048 bits or more")


def new_root(key_file: Path, file: Path, trust_domain: str, now: float) -> x509.Certificate:
    """A root in these two files; what is there of it stays. now: seconds since the epoch. Raises as above."""
    if not key_file.exists():
        write_whole(key_file, pem_of(new_key()), 0o600)
    key = _key(key_file)
    if not file.exists():
        write_whole(file, _root(key, trust_domain, now).public_bytes(Encoding.PEM), 0o644)
    return _certificate_of(file, key, key_file.name)


def _root(key: SigningKey, trust_domain: str, now: float) -> x509.Certificate:
    # Lists of revoked certificates name their authority, so two roots of a mesh must not have one name.
    of_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"root {of_key.digest.hex()[:8]}"),
        ]
    )
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
        .add_extension(of_key, critical=False)
        .sign(key, hashes.SHA256())
    )


def _host_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(**said: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: said.get(name, False) for name in names})


def write_whole(path: Path, content: bytes, mode: int) -> None:
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
def alone(folder: Path) -> Iterator[None]:
    """No other process makes a root here meanwhile."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
