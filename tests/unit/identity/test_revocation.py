"""Lists of revoked certificates: what stands in them, and when they would keep out whom nobody revoked."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.mesh_origin import certified, mesh_authority
from tests.support.revoking import revoking

from tidegate.errors import Rejected
from tidegate.identity.chains import described
from tidegate.identity.revocation import NOTHING_REVOKED, revocations_in


def test_who_is_in_a_list_of_his_authority_is_revoked(tmp_path: Path) -> None:
    one, other = mesh_authority(tmp_path / "one"), mesh_authority(tmp_path / "other")
    bad, good = certified(one, "bad"), certified(one, "good")
    lists = revocations_in(revoking(tmp_path / "one", bad), "list")
    assert lists.has(one.name, bad.serial)
    assert not lists.has(one.name, good.serial)
    assert not lists.has(other.name, bad.serial), "numbers are each authority's own"
    assert one.name != other.name, "or lists could not say whose they are"
    assert not NOTHING_REVOKED.has(one.name, bad.serial)
    assert described(bad.chain)[0].issuer == one.name


def test_several_lists_and_one_in_der(tmp_path: Path) -> None:
    one, other = mesh_authority(tmp_path / "one"), mesh_authority(tmp_path / "other")
    both = revocations_in(revoking(tmp_path / "one", "a1") + b"\n" + revoking(tmp_path / "other", "b2"), "list")
    assert (both.has(one.name, "a1"), both.has(other.name, "b2")) == (True, True)
    der = x509.load_pem_x509_crl(revoking(tmp_path / "one", "a1")).public_bytes(Encoding.DER)
    alone = revocations_in(der, "list")
    assert alone.has(one.name, "a1")
    assert alone.pem.startswith(b"-----BEGIN X509 CRL-----"), "which is what Envoy reads"


def test_a_root_without_a_list_of_its_own_is_named(tmp_path: Path) -> None:
    one, other = mesh_authority(tmp_path / "one"), mesh_authority(tmp_path / "other")
    now = time.time()
    lists = revocations_in(revoking(tmp_path / "one"), "list")
    assert lists.troubles(one.roots, now) == []
    assert lists.troubles(b"", now) == []
    (trouble,) = lists.troubles(one.roots + other.roots, now)
    assert other.name in trouble
    assert NOTHING_REVOKED.troubles(one.roots, now) == []


def test_a_list_that_somebody_else_signed_is_none(tmp_path: Path) -> None:
    one = mesh_authority(tmp_path / "one")
    mesh_authority(tmp_path / "other")
    forged = revoking(tmp_path / "other", "a1", name=one.name)
    (trouble,) = revocations_in(forged, "list").troubles(one.roots, time.time())
    assert one.name in trouble


def test_a_list_that_is_out_of_date_is_named(tmp_path: Path) -> None:
    one = mesh_authority(tmp_path)
    lists = revocations_in(revoking(tmp_path, good_for=timedelta(hours=-1)), "list")
    assert "out of date" in lists.troubles(one.roots, time.time())[0]
    assert lists.troubles(one.roots, time.time() - 7200) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\n",
        b"\x30\x00",
        b"x" * 9_000_000,
    ],
)
def test_what_is_no_list_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(Rejected, match=r"revoked\.pem"):
        revocations_in(content, "revoked.pem")


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    for content in (data, b"\x30" + data):
        with pytest.raises(Rejected):
            revocations_in(content, "list")
