"""The cluster's programs are built once for all that they depend on, and told about before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.kube import building, golang
from tests.kube.building import CONTAINERD, KUBERNETES, RECIPES, Recipe, announcement, programs, progress
from tests.kube.golang import BuildError, Go, number, on_path, wanted
from tests.kube.pin import go_mod

GO = Go(Path("/bin/go"), "go1.26.8 linux/amd64")
# What the builder asks of a Go: its version, and a build that says which packages it compiles and makes what -o names.
FAKE = """#!/bin/sh
[ "$1" = version ] && { echo "go version go$VERSION linux/amd64"; exit; }
echo "$@" >> "$CALLS"
[ -z "$FAILS" ] || { echo "main.go:1: $FAILS" >&2; exit 1; }
echo some/package >&2
case "$4" in */) touch "$4/containerd";; *) touch "$4";; esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go that builds nothing is the machine's; what it was called with."""
    (tmp_path / "bin").mkdir()
    go = tmp_path / "bin" / "go"
    go.write_text(FAKE)
    go.chmod(0o755)
    found = tmp_path / "calls"
    found.touch()
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(found))
    monkeypatch.setenv("VERSION", "1.26.8")
    monkeypatch.setenv("FAILS", "")
    monkeypatch.setattr(building, "DISK", 0)
    return found


def test_programs_are_built_once_and_found_under_their_names(calls: Path, tmp_path: Path) -> None:
    said: list[str] = []
    made = programs(said.append, tmp_path / "cache")
    assert {link.name for link in made.kubernetes.iterdir()} == {"kubelab", *KUBERNETES.links}
    assert all((made.kubernetes / name).exists() for name in KUBERNETES.links)
    assert (made.containerd / "containerd").exists()
    assert said[0].startswith("building kubernetes 1.37.2 and containerd 2.4.2, once, into")
    assert not (tmp_path / "cache" / "work").exists(), "sources and objects are of no use any more"
    said.clear()
    assert programs(said.append, tmp_path / "cache") == made
    assert said == []
    assert len(calls.read_text().splitlines()) == len(RECIPES)


def test_another_go_builds_again_and_only_what_is_missing(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = programs(print, tmp_path / "cache")
    shutil.rmtree(first.containerd)
    assert programs(print, tmp_path / "cache") == first
    assert len(calls.read_text().splitlines()) == len(RECIPES) + 1
    monkeypatch.setenv("VERSION", "1.26.9")
    assert programs(print, tmp_path / "cache").kubernetes != first.kubernetes


def test_a_build_that_fails_leaves_no_programs_and_says_what_go_said(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "undefined: everything")
    with pytest.raises(BuildError, match=r"go build ended with 1\nmain\.go:1: undefined"):
        programs(print, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("kubernetes-*"))
    monkeypatch.setenv("FAILS", "")
    said: list[str] = []
    assert programs(said.append, tmp_path / "cache").kubernetes.exists()


def test_a_full_disk_is_told_before_the_build(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "DISK", 1 << 60)
    with pytest.raises(BuildError, match="MB are free and building takes"):
        programs(print, tmp_path / "cache")
    assert not calls.read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe.module))
def test_a_key_changes_with_everything_that_builds(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / recipe.module
    shutil.copytree(recipe.folder, copy)
    monkeypatch.setattr(building, "PROGRAMS", tmp_path)
    keys = [recipe.key(GO), recipe.key(Go(GO.program, "go1.26.9 linux/amd64"))]
    for file in sorted(copy.iterdir()):
        before = file.read_text()
        file.write_text(before + "// \n")
        keys.append(recipe.key(GO))
        file.write_text(before)
    assert len(set(keys)) == len(keys)
    assert recipe.key(GO) == keys[0]


def test_the_linker_is_told_the_version_that_go_mod_pins() -> None:
    flags = next(word for word in KUBERNETES.arguments() if word.startswith("-ldflags"))
    assert "gitVersion=v1.37.2" in flags
    assert "gitMinor=37" in flags
    assert "Version=v2.4.2" in " ".join(CONTAINERD.arguments())


def test_kubernetes_parts_are_replaced_by_what_is_published() -> None:
    parts = [
        {"Old": {"Path": f"k8s.io/{name}"}, "New": {"Path": f"./staging/src/k8s.io/{name}"}} for name in ("api", "kms")
    ]
    made = go_mod({"Go": "1.26.0", "Replace": parts}, "v1.37.2")
    assert "\ngo 1.26.0\n" in made
    assert "require k8s.io/kubernetes v1.37.2\n" in made
    assert made.endswith("replace (\n\tk8s.io/api => k8s.io/api v0.37.2\n\tk8s.io/kms => k8s.io/kms v0.37.2\n)\n")
    parts[0]["New"]["Path"] = "example.com/fork"
    with pytest.raises(ValueError, match=r"k8s\.io/api is replaced by"):
        go_mod({"Go": "1.26.0", "Replace": parts}, "v1.37.2")


def test_what_is_told_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert "about 17 minutes on 2 processors (" in announcement(list(RECIPES), tmp_path)
    (tmp_path / "work" / "objects").mkdir(parents=True)
    assert "so less (7 GB" in announcement([CONTAINERD], tmp_path)


def test_progress_counts_what_go_says() -> None:
    fetching = ["go: downloading k8s.io/api v0.37.2\n"] * 3
    assert progress(CONTAINERD, fetching, 5.0) == "containerd: 3 modules fetched, 0:05"
    assert progress(CONTAINERD, [*fetching, "fmt\n"], 65.0) == "containerd: 1 of 1030 packages, 1:05"
    assert progress(CONTAINERD, ["x\n"] * 1300, 600.0) == "containerd: 1300 of 1300 packages, 10:00"


def test_versions_of_go_are_compared_as_numbers(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert number("go version go1.26.8 linux/amd64") == (1, 26, 8)
    assert number("go 1.26") == (1, 26, 0)
    assert number("devel") == (0, 0, 0)
    lowest = wanted(recipe.folder / "go.mod" for recipe in RECIPES)
    assert on_path(lowest) is not None
    monkeypatch.setenv("VERSION", "1.9.10")
    assert on_path(lowest) is None
    assert number("go" + golang.LOCK.read_text().split("==")[1].split()[0]) >= lowest, "the wheel is too old"
