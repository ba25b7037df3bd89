"""Lists of revoked certificates of an authority in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tidegate.identity.authority import ROOT_CERTIFICATE, ROOT_KEY
from tidegate.model.identity import Certified

OF_THE_ROOT = (ROOT_CERTIFICATE, ROOT_KEY)


def revoking(
    folder: Path,
    *those: Certified | str,
    good_for: timedelta = timedelta(days=1),
    name: str = "",
    by: tuple[str, str] = OF_THE_ROOT,
) -> bytes:
    """A list in PEM, of certificates or their serial numbers (hexadecimal); good_for: from now, may be
    past. name: whose list it says to be, if not its signer's.
    by: files of its signer's certificate and key."""
    root = x509.load_pem_x509_certificate((folder / by[0]).read_bytes())
    key = load_pem_private_key((folder / by[1]).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    begin = now - timedelta(days=2)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name.from_rfc4514_string(name) if name else root.subject)
        .last_update(begin)
    )
    builder = builder.next_update(now + good_for)
    for one in those:
        serial = int(one if isinstance(one, str) else one.serial, 16)
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
