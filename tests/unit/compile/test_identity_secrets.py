"""What Envoy is told of identities: each certificate under its names, whom to believe, and whom not any more."""

from __future__ import annotations

import base64
from typing import Any

from tidegate.compile.envoy.identities import identity_secrets, own_secrets
from tidegate.model.identity import OWN, ROOTS, Certified, Identity
from tidegate.model.plan.envoy import EnvoyResource

A, B = Identity("shop", "a"), Identity("shop", "b")


def held(one: Identity, roots: bytes = b"root\n", revoked: bytes = b"") -> Certified:
    return Certified(one, "td", b"chain", b"key", roots, 0.0, 1.0, "1", revoked)


def inline(secret: EnvoyResource, part: str, field: str) -> bytes:
    body: Any = secret.body
    return base64.b64decode(body[part][field]["inline_bytes"]) if field in body[part] else b""


def test_roots_of_all_are_believed() -> None:
    told = identity_secrets({A: held(A, b"old\nnew\n"), B: held(B, b"new\n")})
    assert told.keys() == {A.secret, A.served_by, B.secret, B.served_by, ROOTS}
    assert inline(told[ROOTS], "validation_context", "trusted_ca") == b"old\nnew\nnew\n"
    assert inline(told[A.secret], "tls_certificate", "private_key") == b"key"
    assert identity_secrets({}) == {}


def test_a_list_of_revoked_certificates_goes_with_the_roots() -> None:
    for told in (identity_secrets({A: held(A, revoked=b"list")}), own_secrets({A: held(A, revoked=b"list")})):
        assert inline(told[ROOTS], "validation_context", "crl") == b"list"
    assert inline(identity_secrets({A: held(A)})[ROOTS], "validation_context", "crl") == b""
    assert own_secrets({A: held(A)}).keys() == {OWN, ROOTS}
    assert own_secrets({}) == {}
