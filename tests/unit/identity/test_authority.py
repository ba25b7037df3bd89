"""The embedded authority: what it writes, whom it signs for, and what it does not take."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.mesh_origin import issued

from tidegate.errors import Rejected
from tidegate.identity.authority import ROOT_CERTIFICATE, ROOT_DAYS, ROOT_KEY, open_authority
from tidegate.identity.chains import check
from tidegate.identity.embedded import EmbeddedAuthority
from tidegate.identity.keys import KeysInMemory
from tidegate.model.identity import Identity

NOW = 1_800_000_000.0
WHO = Identity("shop", "cart")
SPIFFE = WHO.spiffe("cluster.local")


def test_a_root_is_made_once_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ca"
    first = open_authority(folder, "cluster.local", NOW)
    assert stat.S_IMODE((folder / ROOT_KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {ROOT_KEY, ROOT_CERTIFICATE}
    assert open_authority(folder, "other.domain", NOW + 1000).roots == first.roots


def test_all_who_open_it_at_once_have_the_same_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: open_authority(tmp_path, "cluster.local", NOW).roots, range(8)))
    assert len(set(made)) == 1


def test_a_certificate_is_of_one_workload_for_both_sides_and_for_a_while(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "cluster.local", NOW)
    made = issued(authority, WHO, "corp.example", NOW, 3600)
    (leaf,) = x509.load_pem_x509_certificates(made.chain)
    (root,) = x509.load_pem_x509_certificates(made.roots)
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical, "as there is no subject"
    assert not list(leaf.subject)
    found = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert found == ["spiffe://corp.example/ns/shop/sa/cart"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc == datetime.fromtimestamp(NOW + 3600, UTC)
    assert leaf.not_valid_before_utc < datetime.fromtimestamp(NOW, UTC), "clocks of others are behind"
    assert load_pem_private_key(made.key, None).public_key() == leaf.public_key()
    assert (made.issued, made.expires, int(made.serial, 16)) == (NOW, NOW + 3600, leaf.serial_number)
    assert b"PRIVATE" not in repr(made).encode()


def another_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / ROOT_KEY).chmod(0o640), "can be read by others"),
        (lambda folder: (folder / ROOT_KEY).write_text("no key"), "is no key that can be used"),
        (lambda folder: (folder / ROOT_CERTIFICATE).write_text("none"), "is no certificate"),
        (lambda folder: (folder / ROOT_KEY).unlink(), "is there without its key"),
        (lambda folder: (folder / ROOT_KEY).write_bytes(another_key()), "is not of the key"),
    ],
)
def test_a_root_that_is_not_whole_is_told_and_not_replaced(spoil, why: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    open_authority(tmp_path, "cluster.local", NOW)
    spoil(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Rejected, match=why):
        open_authority(tmp_path, "cluster.local", NOW)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nobody_gets_a_certificate_that_outlives_the_root(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "cluster.local", NOW)
    with pytest.raises(Rejected, match="is good until"):
        issued(authority, WHO, "cluster.local", NOW + ROOT_DAYS * 86_400 - 60, 3600)


async def test_no_root_is_made_before_it_is_needed(tmp_path: Path) -> None:
    issuer = EmbeddedAuthority(tmp_path / "ca")
    assert not (tmp_path / "ca").exists()
    new, spiffe = KeysInMemory().new(SPIFFE), SPIFFE
    signed = await issuer.sign(spiffe, "cluster.local", new.request, NOW, 3600)
    assert check(signed.chain, signed.roots, spiffe, new.request, NOW).names == (spiffe,)
