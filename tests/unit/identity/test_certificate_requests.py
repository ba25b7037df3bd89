"""Certificate requests of strangers: who asks for one name by a usable key gets on, and nobody else."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import Rejected
from tidegate.identity.certificate_requests import MOST_BYTES, asked_in
from tidegate.identity.keys import KeysInMemory

CART = "spiffe://cluster.local/ns/shop/sa/cart"
KEYS: dict[str, tuple[Any, bool]] = {  # and whether it is signed
    "P-256": (lambda: ec.generate_private_key(ec.SECP256R1()), True),
    "P-384": (lambda: ec.generate_private_key(ec.SECP384R1()), True),
    "P-521": (lambda: ec.generate_private_key(ec.SECP521R1()), False),
    "secp256k1": (lambda: ec.generate_private_key(ec.SECP256K1()), False),
    "RSA 2048": (lambda: rsa.generate_private_key(65537, 2048), True),
    "RSA 1024": (lambda: rsa.generate_private_key(65537, 1024), False),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, False),
}
NAMES: dict[str, tuple[list[x509.GeneralName], bool]] = {
    "one URI": ([x509.UniformResourceIdentifier(CART)], True),
    "two URIs": ([x509.UniformResourceIdentifier(CART), x509.UniformResourceIdentifier(CART + "2")], False),
    "a DNS name": ([x509.DNSName("istiod.istio-system.svc")], False),
    "a URI and a DNS name": ([x509.UniformResourceIdentifier(CART), x509.DNSName("istiod")], False),
    "none": ([], False),
}
MORE: dict[str, tuple[x509.ExtensionType | None, bool]] = {
    "nothing": (None, True),
    "no CA": (x509.BasicConstraints(False, None), True),
    "CA": (x509.BasicConstraints(True, None), False),
    "to sign data": (x509.KeyUsage(True, False, True, False, False, False, False, False, False), True),
    "to sign certificates": (x509.KeyUsage(True, False, False, False, False, True, False, False, False), False),
    "to sign lists": (x509.KeyUsage(True, False, False, False, False, False, True, False, False), False),
    "TLS": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), True),
    "code": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
    "any": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
    "something else": (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),
}


@cache
def key(kind: str) -> Any:
    return KEYS[kind][0]()


def request(kind: str, names: str, more: str, subject: x509.Name | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    if found := NAMES[names][0]:
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=True)
    if (extension := MORE[more][0]) is not None:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(key(kind), None if kind == "Ed25519" else hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Case:
    kind: str
    names: str
    more: str

    @property
    def good(self) -> bool:
        return KEYS[self.kind][1] and NAMES[self.names][1] and MORE[self.more][1]


CASES = [Case(kind, names, more) for kind in KEYS for names in NAMES for more in MORE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}, {case.names}, {case.more}")
def test_one_name_and_nothing_more(case: Case) -> None:
    text = request(case.kind, case.names, case.more)
    if case.good:
        asked = asked_in(text)
        assert (asked.name, asked.public) == (CART, key(case.kind).public_key())
    else:
        with pytest.raises(Rejected, match="the certificate request: "):
            asked_in(text)


def test_what_our_own_keys_ask_for_is_taken() -> None:
    assert asked_in(KeysInMemory().new(CART).request).name == CART


def test_a_subject_is_not_looked_at() -> None:
    """Istio's sidecars write an empty organization."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root of all")])
    assert asked_in(request("P-256", "one URI", "nothing", subject)).name == CART


def test_a_hash_that_is_broken_is_refused() -> None:
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-sha1", "-subj", "/"]
    command += ["-addext", f"subjectAltName=URI:{CART}"]
    with pytest.raises(Rejected, match="hash that nobody trusts"):
        asked_in(subprocess.run(command, capture_output=True, check=True).stdout)


def test_who_does_not_have_the_key_gets_nothing() -> None:
    """The signature is of another request by the same means."""
    mine, other = (x509.load_pem_x509_csr(request("P-256", "one URI", more)) for more in ("nothing", "no CA"))
    der = mine.public_bytes(Encoding.DER).replace(mine.signature, other.signature)
    body = base64.encodebytes(der).decode()
    text = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode()
    with pytest.raises(Rejected):
        asked_in(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not one request"),
        (b"x" * (MOST_BYTES + 1), "at most"),
        (KeysInMemory().new(CART).request * 2, "not one request"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"),
    ],
)
def test_what_is_no_request_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        asked_in(text)


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_end_in_a_refusal(data: bytes) -> None:
    body = base64.encodebytes(data).decode()
    for text in (data, f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode()):
        with pytest.raises(Rejected):
            asked_in(text)


GOOD = x509.load_pem_x509_csr(request("P-256", "one URI", "nothing")).public_bytes(Encoding.DER)


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_request_with_any_byte_changed_is_refused_or_the_same(place: int, change: int) -> None:
    """Nobody makes another name or key of a request that somebody signed."""
    der = bytearray(GOOD)
    der[place] ^= change
    body = base64.encodebytes(bytes(der)).decode()
    try:
        asked = asked_in(f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode())
    except Rejected:
        return
    assert (asked.name, asked.public) == (CART, key("P-256").public_key())
