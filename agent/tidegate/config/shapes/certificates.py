"""Certificates, keys and revocation lists in PEM: whether Envoy can use them. Pure.

Envoy keeps a listener waiting for a secret that it cannot use, so what is handed to it has to be usable. Its own rules
beside those of the format: RSA keys of 2048 bits or more, or ECDSA on P-256, P-384 or P-521; no passphrase.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_CRL_BEGIN, _CRL_END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


def pair_problem(certificate: bytes, key: bytes) -> tuple[bool, str] | None:
    """What is wrong with a chain and its key: (whether it is the key's fault, reason); None if both can be used."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return False, _reason(error)
    if (reason := _unusable(public)) is not None:
        return False, reason
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        return True, "is encrypted, and nobody can be asked for its passphrase"
    except (ValueError, UnsupportedAlgorithm) as error:
        return True, _reason(error)
    if _bytes(private.public_key()) != _bytes(public):
        return True, "is not the key of the certificate"
    return None


def authorities_problem(pem: bytes) -> str:
    """What is wrong with certificates of authorities; empty if they can be used."""
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return _reason(error)
    return ""


def revocations_problem(pem: bytes) -> str:
    """What is wrong with lists of revoked certificates; empty if they can be used."""
    try:
        found = list(_lists(pem))
    except ValueError as error:
        return _reason(error)
    return "" if found else "no list of revoked certificates in PEM"


def unlisted_authorities(authorities: bytes, revocations: bytes) -> list[str]:
    """Names of authorities of which no list is there: Envoy refuses every certificate that they signed, since it asks
    for a list of each one on the way, the trusted one included. Both can be used (see above)."""
    certificates = x509.load_pem_x509_certificates(authorities)
    listed = {one.issuer for one in _lists(revocations)}
    needed = dict.fromkeys(name for one in certificates for name in (one.subject, one.issuer))
    return [name.rfc4514_string() for name in needed if name not in listed]


def _lists(pem: bytes) -> Iterator[x509.CertificateRevocationList]:
    """The lists in PEM. Raises ValueError."""
    rest = pem
    for _ in range(pem.count(_CRL_BEGIN)):
        begin = rest.index(_CRL_BEGIN)
        end = rest.find(_CRL_END, begin)
        if end < 0:
            raise ValueError("the last list has no end")
        yield x509.load_pem_x509_crl(rest[begin : end + len(_CRL_END)])
        rest = rest[end + len(_CRL_END) :]


def _unusable(key: PublicKeyTypes) -> str | None:
    if isinstance(key, rsa.RSAPublicKey):
        return None if key.key_size >= LEAST_RSA_BITS else f"RSA of {key.key_size} bits; at least {LEAST_RSA_BITS}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return None if isinstance(key.curve, _CURVES) else f"ECDSA on {key.curve.name}; use P-256, P-384 or P-521"
    return "neither RSA nor ECDSA, which is all that Envoy serves"


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _reason(error: Exception) -> str:
    """The first sentence: what follows is for developers of the library."""
    text = str(error).partition("\n")[0].partition(". ")[0].strip()
    return text or type(error).__name__
