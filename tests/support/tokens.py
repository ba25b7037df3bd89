"""Tokens of service accounts and the keys that verify them, by RFC 7515 and 7517 and not by the product."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": (ec.SECP256R1(), "P-256", 32), "ES384": (ec.SECP384R1(), "P-384", 48)}
CURVES["ES512"] = (ec.SECP521R1(), "P-521", 66)
NOW = 1_800_000_000.0


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_for(algorithm: str, number: int = 0) -> Any:
    """A key that signs so; another number is another key."""
    return _made(algorithm, number)


@cache
def _made(algorithm: str, number: int) -> Any:
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(CURVES[algorithm][0])


def sign(algorithm: str, key: Any, data: bytes) -> bytes:
    digest = HASHES[algorithm[2:]]
    if algorithm.startswith("RS"):
        return bytes(key.sign(data, padding.PKCS1v15(), digest))
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    size = CURVES[algorithm][2]
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def jwk(algorithm: str, key: Any, kid: str = "") -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    out: dict[str, Any] = {"use": "sig", "alg": algorithm, **({"kid": kid} if kid else {})}
    if algorithm.startswith("RS"):
        return out | {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": b64(numbers.e.to_bytes(3, "big"))}
    _, curve, size = CURVES[algorithm]
    coordinates = {"x": b64(numbers.x.to_bytes(size, "big")), "y": b64(numbers.y.to_bytes(size, "big"))}
    return out | {"kty": "EC", "crv": curve} | coordinates


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def claims(namespace: str = "istio-system", account: str = "agent", node: str = "", **more: Any) -> dict[str, Any]:
    """What Kubernetes writes into a token of a pod."""
    bound: dict[str, Any] = {
        "namespace": namespace,
        "pod": {"name": f"{account}-abcde", "uid": "7e6f"},
        "serviceaccount": {"name": account, "uid": "1234"},
        **({"node": {"name": node, "uid": "99"}} if node else {}),
    }
    return {
        "iss": "https://kubernetes.default.svc",
        "aud": ["istio-ca"],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": NOW - 100,
        "nbf": NOW - 100,
        "exp": NOW + 3500,
        "kubernetes.io": bound,
    } | more


def token(said: Any, algorithm: str = "RS256", number: int = 0, **header: Any) -> str:
    """Signed by key_for(algorithm, number)."""
    head = {"alg": algorithm, **header}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(said).encode())}"
    return f"{signed}.{b64(sign(algorithm, key_for(algorithm, number), signed.encode()))}"
