"""Tokens of service accounts: which are believed, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tokens import CURVES, NOW, b64, claims, jwk, jwks, key_for, sign, token

from tidegate.ca.tokens import SKEW_SECONDS, account_in, account_named, key_set
from tidegate.errors import Rejected
from tidegate.model.identity import Identity

ALGORITHMS = ("RS256", "RS384", "RS512", *CURVES)
AGENT = Identity("istio-system", "agent")
ISSUER = "https://kubernetes.default.svc"
KEYS = key_set(jwks(*(jwk(one, key_for(one)) for one in ALGORITHMS)))


def read(text: str, audience: str = "istio-ca", issuer: str = "", now: float = NOW) -> Any:
    return account_in(text, KEYS, audience, issuer, now)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_the_cluster_is_believed(algorithm: str) -> None:
    found = read(token(claims(node="node1"), algorithm), issuer=ISSUER)
    assert (found.identity, found.pod, found.pod_uid, found.node) == (AGENT, "agent-abcde", "7e6f", "node1")
    for other in ALGORITHMS:
        if other != algorithm:
            only = key_set(jwks(jwk(other, key_for(other))))
            with pytest.raises(Rejected, match="none of the cluster's keys"):
                account_in(token(claims(), algorithm), only, "istio-ca", "", NOW)


def changed(**more: Any) -> str:
    return token(claims() | more)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(claims(), number=1), "none of the cluster's keys"),
        (changed(aud="kubernetes"), "is not for audience"),
        (changed(aud=["a", "b"]), "is not for audience"),
        (changed(aud=None), "is not for audience"),
        (changed(aud={"istio-ca": 1}), "is not for audience"),
        (changed(exp=NOW), "has expired"),
        (changed(exp=None), "nothing of its end"),
        (changed(exp=True), "nothing of its end"),
        (changed(exp="2100-01-01"), "nothing of its end"),
        (changed(nbf=NOW + SKEW_SECONDS + 1), "is not good yet"),
        (changed(iat=NOW + SKEW_SECONDS + 1), "is not good yet"),
        (changed(iss="https://elsewhere"), "is not from issuer"),
        (changed(sub="system:node:node1"), "is not of a service account"),
        (changed(sub="system:serviceaccount:istio-system"), "is not of a service account"),
        (changed(sub="system:serviceaccount:a/b:c"), "is not of a service account"),
        (changed(sub=["system:serviceaccount:a:b"]), "is not of a service account"),
        (token(["a list"]), "claims that is no JSON object"),
        (token(claims(), crit=["exp"]), "has to be understood"),
        ("a.b", "is no JWT"),
        ("....", "is no JWT"),
        ("a.b.c", "base64url"),
        ("x" * 20_000, "has more than"),
    ],
)
def test_everything_else_is_not(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        read(text, issuer=ISSUER)
    assert text not in str(refused.value), "nothing of a token gets into logs"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "", None, 7, "PS256", "EdDSA"])
def test_only_signatures_by_a_key_pair_count(algorithm: object) -> None:
    """HS256 with the public key as the secret is how such checks were fooled."""
    body = f"{b64(json.dumps({'alg': algorithm}).encode())}.{b64(json.dumps(claims()).encode())}"
    for signature in ("", b64(b"x"), b64(sign("RS256", key_for("RS256"), body.encode()))):
        with pytest.raises(Rejected, match=r"is not signed by|is no JWT"):
            read(f"{body}.{signature}")


def test_a_token_names_its_key_and_others_are_not_tried() -> None:
    keys = key_set(jwks(jwk("RS256", key_for("RS256"), "old"), jwk("RS256", key_for("RS256", 1), "new")))
    for kid, number, good in (
        ("old", 0, True),
        ("new", 1, True),
        ("old", 1, False),
        ("new", 0, False),
        ("other", 0, False),
    ):
        text = token(claims(), number=number, kid=kid)
        if good:
            assert account_in(text, keys, "istio-ca", "", NOW).identity == AGENT
        else:
            with pytest.raises(Rejected, match="none of the cluster's keys"):
                account_in(text, keys, "istio-ca", "", NOW)
    assert account_in(token(claims()), keys, "istio-ca", "", NOW).identity == AGENT, "who names none is tried with each"


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b"[1]", b"\xff",
     jwks(jwk("RS256", key_for("RS256")) | {"use": "enc"}), jwks(jwk("ES256", key_for("ES256")) | {"x": "AAAA"}),
     jwks(jwk("RS256", key_for("RS256")) | {"n": "!"}), jwks(jwk("RS256", key_for("RS256")) | {"alg": "HS256"})],
)  # fmt: skip
def test_a_set_without_a_usable_key_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_set(text)


GOOD = token(claims(), "ES256")


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_a_token_with_any_character_changed_is_refused_or_says_the_same(place: int, other: str) -> None:
    text = GOOD[:place] + other + GOOD[place + 1 :]
    try:
        assert read(text) == read(GOOD)
    except Rejected:
        assert text != GOOD


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_ends_in_a_refusal(text: str) -> None:
    with pytest.raises(Rejected):
        read(text)
    assert account_named(text) is None or text.startswith("system:serviceaccount:")
