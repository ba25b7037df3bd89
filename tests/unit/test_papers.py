"""Papers that make promises about files: lists and files agree, links lead somewhere, notes have their form."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAPERS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/*/*.md"))
    if ".venv" not in path.parts
)
PLACES = ("agent/", "bpf/", "cni/", "deploy/", "docs/", "lab/", "notes/", "samples/", "tests/", "vagrant/")


def tracked() -> set[str]:
    """Files and folders of the checkout as git knows them, and those not added yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    there = [Path(file) for file in files if (ROOT / file).exists()]
    return {str(path) for path in there} | {str(folder) for path in there for folder in path.parents}


def spelled_out(word: str) -> list[str]:
    """a/{b,c}.py -> a/b.py, a/c.py"""
    found = re.search(r"\{([^{}]*)\}", word)
    if found is None:
        return [word]
    head, tail = word[: found.start()], word[found.end() :]
    return [one for choice in found[1].split(",") for one in spelled_out(head + choice + tail)]


def test_decisions_are_numbered_listed_and_whole() -> None:
    files = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    numbers = [int(path.name[:4]) for path in files]
    assert numbers == list(range(1, len(files) + 1))
    for path in files:
        text = path.read_text()
        missing = [p for p in ("Context", "Decision", "Evidence", "Consequences") if f"**{p}.**" not in text]
        assert missing == [], f"{path.name} lacks {missing}"
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (DECISIONS / "README.md").read_text())
    assert listed == [path.name for path in files]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_that_a_paper_names_exist(paper: Path) -> None:
    there = tracked()
    missing = []
    for word in re.findall(r"`([A-Za-z0-9_./*{},-]+)`", paper.read_text()):
        if word.startswith(PLACES) and not re.search(r"[*]|NNN|NAME|<", word):
            missing += [path for path in spelled_out(word) if path.rstrip("/") not in there]
    assert missing == []


@pytest.mark.parametrize("note", sorted((ROOT / "notes").glob("[0-9]*.md")), ids=lambda path: path.name)
def test_a_change_note_says_area_what_and_upgrade(note: Path) -> None:
    lines = note.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines if line and not line.startswith(" ")] == [
        "area",
        "what",
        "upgrade",
    ]


def test_a_branch_that_changes_the_product_brings_a_note() -> None:
    """Against the main branch where there is one; on it there is nothing to compare with."""
    base = subprocess.run(
        ["git", "merge-base", "HEAD", "main"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    if not base:
        return
    changed = subprocess.run(
        ["git", "diff", "--name-only", base, "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    product = [c for c in changed if c.startswith(("agent/", "bpf/", "cni/", "deploy/", "lab/tidegate_lab/"))]
    noted = [c for c in changed if re.fullmatch(r"notes/\d+\.md", c)]
    assert noted or not product, "say in notes/ what somebody who runs Tidegate notices (notes/README.md)"


def test_every_section_of_the_architecture_ends_in_review_notes() -> None:
    sections = (ROOT / "docs" / "architecture.md").read_text().split("\n## ")[1:]
    without = [one.splitlines()[0] for one in sections if "**Review notes.**" not in one.rstrip().rsplit("\n\n", 1)[-1]]
    assert without == ["What is not here yet"]
