"""An authority below a root, roots that are trusted besides, and a folder that changes under its process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.authorities import Signer, below, signer
from tests.support.mesh_origin import certified, mesh_authority

from tidegate.errors import Rejected
from tidegate.identity.authority import MORE_ROOTS, ROOT_CERTIFICATE, ROOT_KEY, open_authority
from tidegate.identity.chains import described, root_ids
from tidegate.identity.embedded import AuthorityFolder
from tidegate.model.identity import Identity

SPIFFE = Identity("default", "cart").spiffe("cluster.local")


def opened(folder: Path) -> object:
    return open_authority(folder, "cluster.local", time.time(), make=False)


@pytest.mark.parametrize("of_rsa", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_below_a_root_the_chain_leads_to_it(of_rsa: bool, depth: int, tmp_path: Path) -> None:
    root = signer("root")
    between = [signer("between", root)] if depth == 2 else []
    own = signer("own", between[0] if between else root, of_rsa=of_rsa)
    folder = below(tmp_path / "ca", own, [*between, root], [root])
    made = certified(open_authority(folder, "cluster.local", time.time()), "cart")
    names = [one.subject for one in described(made.chain)]
    assert names == ["", "CN=own", *(["CN=between"] if between else [])], "the root is not in it"
    assert made.roots == root.pem
    (tmp_path / "roots").write_bytes(made.roots)
    leaf, *rest = made.chain.split(b"-----END CERTIFICATE-----\n")[:-1]
    (tmp_path / "leaf").write_bytes(leaf + b"-----END CERTIFICATE-----\n")
    (tmp_path / "rest").write_bytes(b"".join(one + b"-----END CERTIFICATE-----\n" for one in rest))
    command = ["openssl", "verify", "-CAfile", "roots", "-untrusted", "rest", "-purpose", "sslserver", "leaf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def misordered(folder: Path, root: Signer, own: Signer) -> None:
    (folder / "cert-chain.pem").write_bytes(own.pem + signer("nobody").pem)


def of_another_root(folder: Path, root: Signer, own: Signer) -> None:
    (folder / "root-cert.pem").write_bytes(signer("another").pem)


def no_authority(folder: Path, root: Signer, own: Signer) -> None:
    below(folder, signer("own", root, authority=False), [root], [root])


def of_another_key(folder: Path, root: Signer, own: Signer) -> None:
    (folder / "ca-cert.pem").write_bytes(signer("own", root).pem)


def for_everybody(folder: Path, root: Signer, own: Signer) -> None:
    (folder / "ca-key.pem").chmod(0o644)


def no_root(folder: Path, root: Signer, own: Signer) -> None:
    (folder / "root-cert.pem").write_bytes(b"")


def a_leaf_is_trusted(folder: Path, root: Signer, own: Signer) -> None:
    (folder / MORE_ROOTS).write_bytes(signer("leaf", authority=False).pem)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (misordered, "is not in order"),
        (of_another_root, "is not signed by a root"),
        (no_authority, "may not sign certificates"),
        (of_another_key, r"is not of the key in ca-key\.pem"),
        (for_everybody, "can be read by others"),
        (no_root, "has no certificates"),
        (a_leaf_is_trusted, "CN=leaf is no authority"),
    ],
)
def test_what_is_not_whole_is_told(spoil: Callable[[Path, Signer, Signer], None], why: str, tmp_path: Path) -> None:
    root = signer("root")
    own = signer("own", root)
    folder = below(tmp_path / "ca", own, [root], [root])
    opened(folder)
    spoil(folder, root, own)
    with pytest.raises(Rejected, match=why):
        opened(folder)


def test_roots_of_before_and_after_are_trusted_besides(tmp_path: Path) -> None:
    authority = mesh_authority(tmp_path)
    other = signer("other")
    (tmp_path / MORE_ROOTS).write_bytes(other.pem + authority.roots)
    again = mesh_authority(tmp_path)
    assert root_ids(again.roots) == (*root_ids(authority.roots), *root_ids(other.pem)), "the own first, each once"


def test_a_folder_that_changes_is_read_and_what_is_broken_leaves_that_of_before(tmp_path: Path) -> None:
    own, following = tmp_path / "ca", tmp_path / "next"
    folder = AuthorityFolder(own)
    first = folder.now("cluster.local", time.time())
    assert folder.now("cluster.local", time.time()) is first
    following_name = mesh_authority(following).name
    (following / ROOT_KEY).replace(own / ROOT_KEY)  # half of the way
    assert folder.now("cluster.local", time.time()) is first
    assert "is not of the key" in folder.problem
    (following / ROOT_CERTIFICATE).replace(own / ROOT_CERTIFICATE)
    assert folder.now("cluster.local", time.time()).name == following_name
    assert folder.problem == ""
    for name in (ROOT_KEY, ROOT_CERTIFICATE):
        (own / name).unlink()
    assert folder.now("cluster.local", time.time()).name == following_name
    assert "is not there any more" in folder.problem
    assert list(own.iterdir()) == [], "nobody makes a third root"
