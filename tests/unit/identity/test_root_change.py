"""The steps from one root to the next: at each everybody can be believed who was given a certificate before."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.authorities import below, signer
from tests.support.mesh_origin import certified, mesh_authority

from tidegate.errors import Rejected
from tidegate.identity.authority import MORE_ROOTS, ROOT_CERTIFICATE, ROOT_KEY
from tidegate.identity.chains import certificates_in, root_ids, signed_by_one_of
from tidegate.identity.root_change import NEXT_CERTIFICATE, NEXT_KEY, RootStep, change_root

PREPARE, SWITCH, FINISH = RootStep


def do(step: RootStep, folder: Path) -> str:
    return change_root(step, folder, "cluster.local", time.time())


def believed(chain: bytes, roots: bytes) -> bool:
    return signed_by_one_of(certificates_in(chain)[0], certificates_in(roots))


def test_neighbours_in_each_step_believe_each_other(tmp_path: Path) -> None:
    old = mesh_authority(tmp_path)
    held = [certified(old, "a")]
    for step in RootStep:
        assert f"--change-root {SWITCH if step is PREPARE else FINISH}" in do(step, tmp_path) or step is FINISH
        now = certified(mesh_authority(tmp_path), "a")
        assert believed(held[-1].chain, now.roots), f"{step}: who renewed believes who has not yet"
        assert believed(now.chain, held[-1].roots), f"{step}: who has not yet believes who renewed"
        held.append(now)
    assert root_ids(held[-1].roots) != root_ids(held[0].roots)
    assert len(root_ids(held[-1].roots)) == 1
    assert not believed(held[0].chain, held[-1].roots)
    assert {path.name for path in tmp_path.iterdir()} == {ROOT_KEY, ROOT_CERTIFICATE}
    assert stat.S_IMODE((tmp_path / ROOT_KEY).stat().st_mode) == 0o600


def test_a_step_that_is_done_again_changes_nothing_more(tmp_path: Path) -> None:
    mesh_authority(tmp_path)
    assert do(PREPARE, tmp_path) == do(PREPARE, tmp_path)
    assert stat.S_IMODE((tmp_path / NEXT_KEY).stat().st_mode) == 0o600
    do(SWITCH, tmp_path)
    with pytest.raises(Rejected, match="do prepare first"):
        do(SWITCH, tmp_path)
    with pytest.raises(Rejected, match="another change is under way"):
        do(PREPARE, tmp_path)
    assert do(FINISH, tmp_path) == do(FINISH, tmp_path)


def test_a_switch_that_was_cut_off_is_finished_by_doing_it_again(tmp_path: Path) -> None:
    mesh_authority(tmp_path)
    do(PREPARE, tmp_path)
    (tmp_path / NEXT_KEY).rename(tmp_path / ROOT_KEY)
    do(SWITCH, tmp_path)
    assert len(root_ids(mesh_authority(tmp_path).roots)) == 2
    assert not (tmp_path / NEXT_CERTIFICATE).exists()


@pytest.mark.parametrize(
    ("prepare", "step", "why"),
    [
        (mesh_authority, SWITCH, "do prepare first"),
        (lambda folder: do(PREPARE, folder), FINISH, "does not sign yet"),
        (lambda folder: below(folder, root := signer("r"), [], [root]), PREPARE, "below a root"),
    ],
)
def test_a_step_that_is_not_its_turn_is_refused(
    prepare: Callable[[Path], object], step: RootStep, why: str, tmp_path: Path
) -> None:
    prepare(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Rejected, match=why):
        do(step, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert (tmp_path / MORE_ROOTS).exists() == (step is FINISH)
