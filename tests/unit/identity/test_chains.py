"""Chains that come from elsewhere: read or refused, whatever is in them."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import Rejected
from tidegate.identity.authority import open_authority
from tidegate.identity.certificate_requests import asked_in
from tidegate.identity.chains import MOST_CERTIFICATES, certificates_in, check, described, merged, root_ids
from tidegate.identity.keys import KeysInMemory
from tidegate.model.identity import Identity

NOW = 1_800_000_000.0
CART = Identity("shop", "cart")


def pem(der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()


@pytest.mark.filterwarnings("ignore:Parsed a")  # numbers and flags that RFC 5280 has otherwise
@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_certificate_with_any_byte_changed_is_no_answer_or_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    authority = open_authority(tmp_path_factory.getbasetemp() / "chains", "td", NOW)
    request = KeysInMemory().new(CART.spiffe("td")).request
    made = authority.sign(asked_in(request).public, CART.spiffe("td"), NOW, 3600)
    right = check(made.chain, made.roots, CART.spiffe("td"), request, NOW)
    der = bytearray(certificates_in(made.chain)[0].public_bytes(Encoding.DER))
    der[place % len(der)] ^= change
    try:
        found = check(pem(bytes(der)), made.roots, CART.spiffe("td"), request, NOW)
    except Rejected:
        return
    assert replace(found, id=right.id) == right, "some bytes around what is signed mean nothing"


def test_roots_of_several_texts_are_each_there_once(tmp_path: Path) -> None:
    one, two = (open_authority(tmp_path / name, "td", NOW).roots for name in ("one", "two"))
    both = merged([one, two, one + two, b""])
    assert root_ids(both) == (*root_ids(one), *root_ids(two))
    assert len({*root_ids(both)}) == 2
    assert described(b"") == []
    assert root_ids(b"") == ()


def test_a_text_of_too_many_is_not_read(tmp_path: Path) -> None:
    root = open_authority(tmp_path, "td", NOW).roots
    assert len(certificates_in(root * MOST_CERTIFICATES)) == MOST_CERTIFICATES
    with pytest.raises(ValueError, match="more than"):
        certificates_in(root * (MOST_CERTIFICATES + 1))
    with pytest.raises(ValueError, match="more than"):
        certificates_in(b"x" * 1_000_000)
