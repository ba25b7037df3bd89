"""Certificates in PEM, read: what stands in them, and whether a chain is what was asked for. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tidegate.errors import Rejected

# What reading a stranger's X.509 may raise, at first sight or when a part of it is looked at.
UNREADABLE = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
MOST_CERTIFICATES = 32  # of an answer: a chain and the roots of a mesh that changes them
MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Described:
    """A certificate for people and programs. Times are seconds since the epoch."""

    names: tuple[str, ...]  # URIs
    serial: str  # hexadecimal
    not_before: float
    not_after: float
    subject: str
    issuer: str
    id: str  # hexadecimal SHA-256 of the whole certificate, the first 16 digits


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """At least one. Raises ValueError."""
    if len(pem) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    if len(found) > MOST_CERTIFICATES:
        raise ValueError(f"more than {MOST_CERTIFICATES} certificates")
    return found


def each_in(pem: bytes) -> list[bytes]:
    """Certificates of a text one by one, in PEM. Raises ValueError."""
    return [one.public_bytes(Encoding.PEM) for one in certificates_in(pem)]


def described(pem: bytes) -> list[Described]:
    """Each certificate of a text, which may be empty. Raises ValueError."""
    return [_described(one) for one in certificates_in(pem)] if pem else []


def signed_by_one_of(one: x509.Certificate, signers: Iterable[x509.Certificate]) -> bool:
    """Whether some signer's key made the signature, and its name is that of the issuer."""
    for signer in signers:
        try:
            one.verify_directly_issued_by(signer)
        except (*UNREADABLE, InvalidSignature):
            continue
        return True
    return False


def check(chain: bytes, roots: bytes, spiffe: str, request: bytes, now: float) -> Described:
    """The leaf of a chain if it is what a request asked for, is good now, and leads to one of the roots.

    Raises Rejected: an answer that does not fit would be found out by peers only, one connection after the other.
    """
    try:
        certificates, trusted = certificates_in(chain), certificates_in(roots)
        asked = x509.load_pem_x509_csr(request)
        leaf = _described(certificates[0])
        same_key = _public(certificates[0]) == _public(asked)
    except UNREADABLE as error:
        raise _unfit(f"cannot be read: {error}") from None
    if not same_key:
        raise _unfit("is of another key than that of the request")
    if leaf.names != (spiffe,):
        raise _unfit(f"is of {', '.join(leaf.names) or 'nobody'} and not of {spiffe}")
    if not leaf.not_before <= now < leaf.not_after:
        raise _unfit("is not good now", "compare the clocks of both machines")
    for lower, upper in itertools.pairwise(certificates):
        if not signed_by_one_of(lower, [upper]):
            raise _unfit("is not signed by the next of its chain")
    if not signed_by_one_of(certificates[-1], trusted):
        raise _unfit("leads to none of the roots that came with it")
    return leaf


def root_ids(roots: bytes) -> tuple[str, ...]:
    """Which roots a text has. Raises ValueError."""
    return tuple(dict.fromkeys(one.id for one in described(roots)))


def merged(texts: Iterable[bytes]) -> bytes:
    """Certificates of several texts, each once, in the order in which they come. Raises ValueError."""
    found: Sequence[x509.Certificate] = [one for text in dict.fromkeys(texts) if text for one in certificates_in(text)]
    return b"".join(dict.fromkeys(one.public_bytes(Encoding.PEM) for one in found))


def _described(one: x509.Certificate) -> Described:
    try:
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        uris = ()
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    return Described(
        names=uris,
        serial=f"{one.serial_number:x}",
        not_before=one.not_valid_before_utc.timestamp(),
        not_after=one.not_valid_after_utc.timestamp(),
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        id=one.fingerprint(hashes.SHA256()).hex()[:16],
    )


def _public(one: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unfit(reason: str, remedy: str = "ask whoever runs the authority") -> Rejected:
    return Rejected("the certificate that came", reason, remedy)
