"""Certificate signing requests (PKCS #10, RFC 2986) of strangers: read, and refused unless they ask for one name and
nothing else. Pure.

Of a request only the public key gets into a certificate. What else it asks for is refused where it asks for more than
a workload has, so that whoever tries hears of it and the log has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from tidegate.errors import Rejected
from tidegate.identity.chains import UNREADABLE

MOST_BYTES = 16 * 1024
LEAST_RSA_BITS, MOST_RSA_BITS = 2048, 4096  # what Envoy serves; what costs a signer and each peer not too much
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"
_OTHER_BEGIN = b"-----BEGIN NEW CERTIFICATE REQUEST-----"
_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What a request asks for."""

    public: CertificatePublicKeyTypes
    name: str  # its one URI


def asked_in(pem: bytes) -> AskedFor:
    """What a request in PEM asks for. Raises Rejected, whose reason says which of its wishes nobody gets."""
    request = _read(pem)
    public = _usable_key(request)
    try:
        digest, proven = request.signature_hash_algorithm, request.is_signature_valid
    except UNREADABLE:
        digest, proven = None, False
    if digest is not None and not isinstance(digest, _HASHES):
        raise _refused("is signed by means of a hash that nobody trusts")
    if not proven:
        raise _refused("is not signed by its own key")
    return AskedFor(public, _one_name(request))


def _read(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > MOST_BYTES:
        raise _refused(f"has {len(pem)} bytes, and at most {MOST_BYTES} are read")
    if pem.count(_BEGIN) + pem.count(_OTHER_BEGIN) != 1:
        raise _refused("is not one request in PEM")
    try:
        return x509.load_pem_x509_csr(pem)
    except UNREADABLE as error:
        raise _refused(f"cannot be read: {str(error).partition(chr(10))[0]}") from None


def _usable_key(request: x509.CertificateSigningRequest) -> CertificatePublicKeyTypes:
    try:
        public = request.public_key()
    except UNREADABLE as error:
        raise _refused(f"has a key that cannot be read: {error}") from None
    if isinstance(public, ec.EllipticCurvePublicKey):
        if isinstance(public.curve, _CURVES):
            return public
        raise _refused(f"has a key on {public.curve.name}; use P-256 or P-384")
    if isinstance(public, rsa.RSAPublicKey):
        if not LEAST_RSA_BITS <= public.key_size <= MOST_RSA_BITS:
            raise _refused(f"has an RSA key of {public.key_size} bits; {LEAST_RSA_BITS} to {MOST_RSA_BITS} are signed")
        if public.public_numbers().e != 65537:
            raise _refused("has an RSA key whose exponent is not 65537")
        return public
    raise _refused("has a key that is neither ECDSA nor RSA")


def _one_name(request: x509.CertificateSigningRequest) -> str:
    try:
        extensions = request.extensions
    except UNREADABLE as error:
        raise _refused(f"has extensions that cannot be read: {error}") from None
    names: list[x509.GeneralName] = []
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += list(value)
        elif isinstance(value, x509.BasicConstraints):
            if value.ca:
                raise _refused("asks to be an authority")
        elif isinstance(value, x509.KeyUsage):
            if value.key_cert_sign or value.crl_sign:
                raise _refused("asks to sign certificates or revocation lists")
        elif isinstance(value, x509.ExtendedKeyUsage):
            if not set(value) <= _USES:
                raise _refused("asks for a use beyond TLS of servers and clients")
        else:
            raise _refused(f"asks for extension {extension.oid.dotted_string}, which no workload has")
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if len(names) != 1 or len(uris) != 1:
        raise _refused(f"has {len(names)} names, {len(uris)} of them URIs, and has to have one URI alone")
    return uris[0]


def _refused(reason: str) -> Rejected:
    return Rejected("the certificate request", reason)
