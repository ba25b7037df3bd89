"""A cluster's folder is its lock: taken once, and removed by the next one when nobody holds it any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.kube import cluster as clusters


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made, and a tree of cgroups that has none of them."""
    monkeypatch.setattr(clusters, "ROOT", tmp_path)
    monkeypatch.setattr(clusters, "cgroup2_mount", lambda: tmp_path / "no-cgroups")
    return tmp_path


def test_a_folder_is_taken_once(root: Path) -> None:
    folder = root / f"{clusters.PREFIX}one"
    lock = clusters._claim(folder)
    (folder / "file").touch()
    assert clusters.running() == ["one"]
    with pytest.raises(AssertionError, match="is there already"):
        clusters._claim(folder)
    assert [path.name for path in root.iterdir()] == [folder.name]
    clusters.sweep()
    assert (folder / "file").exists()
    os.close(lock)


def test_one_that_nobody_holds_is_swept(root: Path) -> None:
    held, dead = (root / f"{clusters.PREFIX}{name}" for name in ("held", "dead"))
    lock = clusters._claim(held)
    os.close(clusters._claim(dead))
    (dead / "file").touch()
    (root / "else").mkdir()
    assert clusters.running() == ["held"]
    clusters.sweep()
    assert {path.name for path in root.iterdir()} == {held.name, "else"}
    os.close(lock)


def test_who_inherits_the_descriptor_holds_it_on(root: Path) -> None:
    lock = clusters._claim(root / f"{clusters.PREFIX}one")
    heir = os.dup(lock)
    os.close(lock)
    assert clusters.running() == ["one"]
    os.close(heir)
    assert clusters.running() == []


def test_a_cluster_that_is_not_there_is_removed_all_the_same() -> None:
    clusters.remove("nothing")
