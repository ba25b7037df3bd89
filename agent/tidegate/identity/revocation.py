"""Lists of revoked certificates (CRL, RFC 5280): read, and asked. Pure.

Whoever checks a chain by such lists asks for one of each authority on the way, the root included, and believes nobody
whose authority has none, or one that is out of date: so it is at Envoy, and so it is said here before it harms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tidegate.errors import Rejected
from tidegate.identity.chains import UNREADABLE, certificates_in

MOST_BYTES = 8 << 20
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True)
class Revocations:
    """All lists of a file."""

    pem: bytes = b""
    by_issuer: Mapping[str, frozenset[str]] = field(default_factory=dict)  # serial numbers, hexadecimal
    until: float | None = None  # when the first list is out of date, seconds since the epoch; None: never

    def has(self, issuer: str, serial: str) -> bool:
        """Whether a certificate is revoked. issuer: RFC 4514; serial: hexadecimal."""
        return serial in self.by_issuer.get(issuer, ())

    def troubles(self, roots: bytes, now: float) -> list[str]:
        """Why whom the mesh should believe is refused, or will be: roots without a list, lists that are out of date.
        roots: in PEM, each a certificate that can be read."""
        if not self.pem:
            return []
        found = [
            f"no list of revoked certificates is of {name}: whom it signed is refused; add its list"
            for name in _unlisted(self.pem, roots)
        ]
        if self.until is not None and self.until <= now:
            found.append("a list of revoked certificates is out of date: whom its authority signed is refused")
        return found


@lru_cache(maxsize=4)  # asked for each status, and the lists of a mesh may be long
def _unlisted(pem: bytes, roots: bytes) -> tuple[str, ...]:
    """Roots of which there is no list that they signed."""
    lists = list(_lists(pem))
    without = [
        _name(root.subject)
        for root in (certificates_in(roots) if roots else ())
        if not any(one.issuer == root.subject and _signed_by(one, root) for one in lists)
    ]
    return tuple(dict.fromkeys(without))


def _signed_by(one: x509.CertificateRevocationList, root: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(root.public_key())  # type: ignore[arg-type]  # of another kind: TypeError
    except UNREADABLE:
        return False


NOTHING_REVOKED = Revocations()


def revocations_in(content: bytes, subject: str) -> Revocations:
    """Lists in PEM, one after the other, or one in DER; subject: what the file is called in errors. Raises Rejected."""
    if len(content) > MOST_BYTES:
        raise Rejected(subject, f"has more than {MOST_BYTES} bytes")
    try:
        lists = list(_lists(content))
        by_issuer: dict[str, set[str]] = {}
        for one in lists:
            by_issuer.setdefault(_name(one.issuer), set()).update(f"{entry.serial_number:x}" for entry in one)
        ends = [one.next_update_utc.timestamp() for one in lists if one.next_update_utc is not None]
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in lists)
    except UNREADABLE as error:
        raise Rejected(subject, f"is no list of revoked certificates: {error}", "write CRLs in PEM") from None
    if not lists:
        raise Rejected(subject, "has no list of revoked certificates", "write CRLs in PEM, one of each authority")
    return Revocations(pem, {name: frozenset(found) for name, found in by_issuer.items()}, min(ends, default=None))


def _lists(content: bytes) -> Iterator[x509.CertificateRevocationList]:
    if _BEGIN not in content:
        if content[:1] == b"\x30":  # a SEQUENCE
            yield x509.load_der_x509_crl(content)
        return
    for part in content.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        yield x509.load_pem_x509_crl(_BEGIN + body + end)


def _name(name: x509.Name) -> str:
    return name.rfc4514_string()
