"""Breakages of C are C: a compiler takes each with the warnings that the product is built with, or nobody would see it.

What only an optimiser finds (a variable that may be unset) is left to `make test-mutants`, which builds.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.mutants.mutant import ROOT, TARGETS, Mutant
from tests.mutants.table import GROUPS

IN_C = [m for g in GROUPS for m in g.mutants if any(file.endswith((".c", ".h")) for file, _, _ in m.edits())]
FOLDERS = ("agent/relay", "agent/native", "bpf", "cni")


@dataclass(frozen=True)
class Compiler:
    """A copy of the product's C, and how each of its sources is compiled."""

    root: Path
    flags: dict[str, list[str]]  # compiler and options, by source
    includes: dict[str, set[str]]  # what a source consists of, itself among it

    def sources_of(self, file: str) -> list[str]:
        """Those that a change of this file concerns: of a header's one in each folder, since its text is the same."""
        found = [source for source in self.flags if file in self.includes[source]]
        return list({os.path.dirname(source): source for source in found}.values())

    def complaint(self, source: str) -> str:
        """What the compiler says, "" if nothing."""
        command = [*self.flags[source], source]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False).stderr


def how_sources_are_compiled() -> dict[str, list[str]]:
    """As make would do it, but without an object: clang warns of what it has read, gcc of what it has translated."""
    targets = sorted({target for targets in TARGETS.values() for target in targets})
    plan = subprocess.run(["make", "-nB", *targets], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in plan.splitlines():
        words = shlex.split(line) if line.startswith(("cc ", "gcc ", "clang ")) else []
        options = [w for w in words[1:] if w.startswith(("-std", "-W", "-D", "-I", "-m")) and not w.startswith("-Wl,")]
        options = [w for w in options if not w.startswith(("-D_FORTIFY", "-MM"))]
        end = ["-target", "bpf", "-O2", "-fsyntax-only"] if words[:1] == ["clang"] else ["-O0", "-S", "-o", "/dev/null"]
        sources = [w for w in words if w.endswith(".c") and w.startswith(FOLDERS)]
        found |= {source: [words[0], *options, *end] for source in sources}
    return found


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    root = tmp_path_factory.mktemp("c")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("*.py", "*.md", "__pycache__"))
    flags = how_sources_are_compiled()
    includes: dict[str, set[str]] = {}
    for source, how in flags.items():
        command = [*(w for w in how if w not in ("-S", "-fsyntax-only")), "-MM", "-MF", "/dev/stdout", source]
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        includes[source] = {os.path.normpath(word) for word in said.replace("\\\n", " ").split()[1:]}
    return Compiler(root, flags, includes)


def test_all_sources_are_known_and_nobody_complains_of_them(compiler: Compiler) -> None:
    there = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.c")}
    assert set(compiler.flags) == there
    said = {source: compiler.complaint(source) for source in sorted({compiler.sources_of(s)[0] for s in there})}
    assert {source: what for source, what in said.items() if what} == {}


@pytest.mark.parametrize("mutant", IN_C, ids=lambda mutant: mutant.name)
def test_a_breakage_compiles(compiler: Compiler, mutant: Mutant) -> None:
    changed = {file: text for file, text in mutant.mutated().items() if file.endswith((".c", ".h"))}
    before = {file: (compiler.root / file).read_text() for file in changed}
    sources = sorted({source for file in changed for source in compiler.sources_of(file)})
    assert sources, f"nothing that is built includes {', '.join(changed)}"
    try:
        for file, text in changed.items():
            (compiler.root / file).write_text(text)
        said = {source: compiler.complaint(source) for source in sources}
    finally:
        for file, text in before.items():
            (compiler.root / file).write_text(text)
    assert {source: what for source, what in said.items() if what} == {}
