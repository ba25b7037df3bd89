"""Tokens of Kubernetes' service accounts (JWT, RFC 7519, signed by RFC 7515), verified by the keys that the cluster
publishes (JWKS, RFC 7517). Pure.

A token that was good until it was read carries its claims in plain text; here nothing of it is believed before its
signature is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tidegate.errors import Rejected
from tidegate.model.identity import Identity, identity_in

MOST_BYTES: Final = 16 * 1024
SKEW_SECONDS: Final = 30.0  # that clocks may differ where a token begins; where it ends, nothing is given
_RSA: dict[str, hashes.HashAlgorithm] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
_EC: dict[str, tuple[hashes.HashAlgorithm, int]] = {  # and the bytes of each half of a signature
    "ES256": (hashes.SHA256(), 32),
    "ES384": (hashes.SHA384(), 48),
    "ES512": (hashes.SHA512(), 66),
}
_CURVES = {"P-256": (ec.SECP256R1, "ES256"), "P-384": (ec.SECP384R1, "ES384"), "P-521": (ec.SECP521R1, "ES512")}
_SUBJECT = "system:serviceaccount:"

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key of a set. id: empty if it has none; algorithms: those that it may verify."""

    id: str
    algorithms: frozenset[str]
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is, and the pod and node that it is bound to, where it says so."""

    identity: Identity
    pod: str = ""
    pod_uid: str = ""
    node: str = ""


def key_set(text: bytes) -> tuple[VerifyingKey, ...]:
    """Keys of a JWKS that may verify signatures; others in it are for others. Raises ValueError if there is none."""
    document = json.loads(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('no "keys" in it')
    found = [key for entry in entries if isinstance(entry, dict) and (key := _verifying(entry)) is not None]
    if not found:
        raise ValueError("no key in it that verifies RS256..512 or ES256..512")
    return tuple(found)


def account_in(token: str, keys: Iterable[VerifyingKey], audience: str, issuer: str, now: float) -> Account:
    """Whose token it is. audience: that it has to be for; issuer: that it has to be from, empty = any whose key is in
    the set; now: seconds since the epoch. Raises Rejected, without a word of the token."""
    if len(token) > MOST_BYTES:
        raise _refused(f"has more than {MOST_BYTES} bytes")
    parts = token.split(".")
    if len(parts) != 3:
        raise _refused("is no JWT")
    header, claims = _object(parts[0], "header"), _object(parts[1], "claims")
    _verify(header, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2], "signature"), keys)
    _in_time(claims, now)
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _refused(f"is not for audience {audience}")
    if issuer and claims.get("iss") != issuer:
        raise _refused(f"is not from issuer {issuer}")
    return _account(claims)


def account_named(subject: str) -> Identity | None:
    """system:serviceaccount:NAMESPACE:NAME, as Kubernetes calls a service account; None for another text."""
    namespace, _, name = subject.removeprefix(_SUBJECT).partition(":")
    known = identity_in(Identity(namespace, name).spiffe("any")) if subject.startswith(_SUBJECT) else None
    return known[1] if known else None


def _account(claims: Mapping[str, Any]) -> Account:
    subject = claims.get("sub")
    identity = account_named(subject) if isinstance(subject, str) else None
    if identity is None:
        raise _refused("is not of a service account")
    bound = claims.get("kubernetes.io")
    bound = bound if isinstance(bound, dict) else {}
    pod, node = _text_of(bound, "pod"), _text_of(bound, "node")
    return Account(identity, pod.get("name", ""), pod.get("uid", ""), node.get("name", ""))


def _text_of(bound: Mapping[str, Any], field: str) -> dict[str, str]:
    value = bound.get(field)
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def _in_time(claims: Mapping[str, Any], now: float) -> None:
    if (expires := _time(claims, "exp")) is None:
        raise _refused("says nothing of its end")
    if now >= expires:
        raise _refused("has expired")
    for field in ("nbf", "iat"):
        if field in claims and ((begin := _time(claims, field)) is None or begin > now + SKEW_SECONDS):
            raise _refused("is not good yet")


def _time(claims: Mapping[str, Any], field: str) -> float | None:
    """Seconds since the epoch (RFC 7519 2, NumericDate); None if it is no such number."""
    value = claims.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _verify(header: Mapping[str, Any], signed: bytes, signature: bytes, keys: Iterable[VerifyingKey]) -> None:
    algorithm, named = header.get("alg"), header.get("kid")
    if algorithm not in _RSA and algorithm not in _EC:
        raise _refused("is not signed by RS256..512 or ES256..512")
    if "crit" in header:
        raise _refused("has a header that has to be understood and is not (crit)")
    fitting = [key for key in keys if algorithm in key.algorithms and (not key.id or named in (None, key.id))]
    if not any(_made(key.key, str(algorithm), signed, signature) for key in fitting):
        raise _refused("is signed by none of the cluster's keys")


def _made(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether the key's owner made the signature."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), _RSA[algorithm])
            return True
        digest, size = _EC[algorithm]
        if len(signature) != 2 * size:  # RFC 7518 3.4: both numbers, one after the other
            return False
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _verifying(entry: Mapping[str, Any]) -> VerifyingKey | None:
    if entry.get("use") not in (None, "sig"):
        return None
    said, sort, named = entry.get("alg"), entry.get("kty"), entry.get("kid")
    key: PublicKey
    try:
        if sort == "RSA":
            key = rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()
            able = frozenset(_RSA) if key.key_size >= 2048 else frozenset()
        elif sort == "EC" and entry.get("crv") in _CURVES:
            curve, algorithm = _CURVES[str(entry["crv"])]
            key = ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), curve()).public_key()
            able = frozenset({algorithm})
        else:
            return None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"key {named!r} cannot be read: {error}") from None
    able = able & {said} if isinstance(said, str) else able
    return VerifyingKey(named if isinstance(named, str) else "", able, key) if able else None


def _number(entry: Mapping[str, Any], field: str) -> int:
    text = entry.get(field)
    if not isinstance(text, str):
        raise ValueError(f"{field} is missing")
    return int.from_bytes(_base64(text), "big")


def _object(part: str, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(_decoded(part, what))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _refused(f"has a {what} that is no JSON object")
    return value


def _decoded(part: str, what: str) -> bytes:
    try:
        return _base64(part)
    except ValueError:
        raise _refused(f"has a {what} that is not base64url") from None


def _base64(text: str) -> bytes:
    """base64url without padding (RFC 7515, appendix C), and nothing that stands for the same in another way."""
    try:
        found = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
    return found


def _refused(reason: str) -> Rejected:
    return Rejected("the token", reason)
