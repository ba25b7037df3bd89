"""Secrets: what Envoy could not use is an error of the document, and no value of one is ever said."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.certificates import Authority, private, secret
from tests.support.configs import mesh_of

from tidegate.model.mesh import Mesh

AUTHORITY = Authority()
PAIR = AUTHORITY.issue("shop.example")
OTHER = AUTHORITY.issue("other.example")


def read(values: dict[str, bytes]) -> Mesh:
    return mesh_of({"s.yaml": secret("shop", values)})


def test_both_spellings_and_plain_text() -> None:
    for names in (("tls.crt", "tls.key"), ("cert", "key")):
        (found,) = read(dict(zip(names, (PAIR.certificate, PAIR.key), strict=True))).secrets
        assert (found.certificate, found.key) == (PAIR.certificate, PAIR.key)
    indented = PAIR.certificate.decode().replace("\n", "\n    ")
    text = f"""
apiVersion: v1
kind: Secret
metadata: {{name: shop}}
stringData:
  ca.crt: |
    {indented}
"""
    (found,) = mesh_of({"s.yaml": text}).secrets
    assert found.ca.strip() == PAIR.certificate.strip()


def test_a_key_of_two_thousand_bits_is_the_least() -> None:
    good = AUTHORITY.issue("shop.example", key=rsa.generate_private_key(65537, 2048))
    assert not read({"tls.crt": good.certificate, "tls.key": good.key}).problems
    short = AUTHORITY.issue("shop.example", key=rsa.generate_private_key(65537, 1024))
    (problem,) = read({"tls.crt": short.certificate, "tls.key": short.key}).problems
    assert (problem.code, "1024 bits" in problem.message) == ("TG0482", True)


@pytest.mark.parametrize(
    ("values", "code", "path", "part"),
    [
        ({"tls.crt": PAIR.certificate}, "TG0481", "data.tls.crt", "tls.key"),
        ({"key": PAIR.key}, "TG0481", "data.key", "cert"),
        ({"tls.crt": b"no", "tls.key": PAIR.key}, "TG0482", "data.tls.crt", ""),
        ({"tls.crt": PAIR.certificate, "tls.key": b"no"}, "TG0483", "data.tls.key", ""),
        ({"tls.crt": PAIR.certificate, "tls.key": OTHER.key}, "TG0483", "data.tls.key", "not the key"),
        ({"ca.crt": PAIR.key}, "TG0482", "data.ca.crt", ""),
        ({"ca.crt": AUTHORITY.certificate, "ca.crl": b"no"}, "TG0482", "data.ca.crl", "no list"),
    ],
)
def test_what_cannot_be_used(values: dict[str, bytes], code: str, path: str, part: str) -> None:
    mesh = read(values)
    found = [(p.code, p.path.replace('["', ".").replace('"]', "")) for p in mesh.problems]
    assert found == [(code, path)]
    assert part in mesh.problems[0].message
    assert not mesh.secrets


def test_an_authority_without_a_list_is_named_since_nobody_whom_it_signed_is_let_in() -> None:
    below = Authority("below", above=AUTHORITY)
    whole = {"ca.crt": AUTHORITY.certificate + below.certificate, "ca.crl": AUTHORITY.revoke() + below.revoke()}
    assert not read(whole).problems
    for bundle, lists, lacking in (
        (AUTHORITY.certificate + below.certificate, below.revoke(), "CN=authority"),
        (AUTHORITY.certificate + below.certificate, AUTHORITY.revoke(), "CN=below"),
        (below.certificate, below.revoke(), "CN=authority"),
    ):
        mesh = read({"ca.crt": bundle, "ca.crl": lists})
        assert [(p.code, lacking in p.message, p.is_error) for p in mesh.problems] == [("TG0621", True, False)]
        assert mesh.secrets


def test_a_list_that_has_no_end_is_none() -> None:
    (problem,) = read({"ca.crt": AUTHORITY.certificate, "ca.crl": AUTHORITY.revoke()[:-40]}).problems
    assert (problem.code, "no end" in problem.message) == ("TG0482", True)


def test_keys_that_envoy_does_not_serve() -> None:
    odd = AUTHORITY.issue("shop.example", key=ec.generate_private_key(ec.SECP256K1()))
    (problem,) = read({"tls.crt": odd.certificate, "tls.key": odd.key}).problems
    assert (problem.code, "P-256" in problem.message) == ("TG0482", True)


def test_a_key_behind_a_passphrase() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pair = AUTHORITY.issue("shop.example", key=key)
    (problem,) = read({"tls.crt": pair.certificate, "tls.key": private(key, b"secret")}).problems
    assert (problem.code, "passphrase" in problem.message) == ("TG0483", True)


def test_a_broken_secret_keeps_the_one_before_it_serving() -> None:
    from tests.support.configs import Texts

    from tidegate.config.store import Store

    texts, store = Texts(), Store()
    good = secret("shop", {"tls.crt": PAIR.certificate, "tls.key": PAIR.key})
    store.apply(0, texts.say({"s.yaml": good}))
    mesh = store.apply(0, texts.say({"s.yaml": secret("shop", {"tls.crt": PAIR.certificate, "tls.key": OTHER.key})}))
    assert [s.key for s in mesh.secrets] == [PAIR.key]
    assert [p.code for p in mesh.problems] == ["TG0483"]


def test_what_is_not_for_tls_is_of_no_interest() -> None:
    mesh = read({"password": b"hunter2"})
    assert not mesh.secrets
    assert not mesh.problems


def test_no_value_is_said() -> None:
    text = secret("shop", {}).replace("data:", "data: {tls.key: 'not-base64-hunter2!'}")
    for problem in mesh_of({"s.yaml": text}).problems:
        assert "hunter2" not in str(problem)
    assert PAIR.key.decode() not in repr(read({"tls.crt": PAIR.certificate, "tls.key": PAIR.key}).secrets)
