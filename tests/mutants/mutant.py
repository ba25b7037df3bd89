"""What a mutant is: one deliberate breakage of the product, and the tests that have to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RELAY = ("agent/tidegate/_relay.abi3.so", "build/relay/tidegate-relay")
# What `make` has to build again when a file of a directory changes; longest prefix wins, Python needs nothing.
TARGETS: dict[str, tuple[str, ...]] = {
    "bpf/": ("bpf-objects", "agent/tidegate/_bpf.abi3.so"),
    "bpf/include/": ("bpf-objects", "agent/tidegate/_bpf.abi3.so", *RELAY),
    "agent/native/": ("agent/tidegate/_bpf.abi3.so",),
    "agent/relay/": RELAY,
    "cni/": ("build/cni/tidegate",),
}
# A test that runs a program which only it uses.
TEST_TARGETS = {
    "tests/relay/test_fuzz_corpus.py": tuple(
        f"build/fuzz/replay/{name}"
        for name in ("cni_call", "cni_wire", "control", "hello", "image", "image_file", "policies", "relay")
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One breakage.

    name: unique, of a-z, 0-9 and dashes.
    says: what is broken, in terms that a user of the product sees.
    file: path from the root of the checkout; old: text that occurs in it exactly once; new: what stands there instead.
    tests: pytest node ids or files; at least one of them has to fail.
    raises: exception types that count as noticing. Those of tests.mutants.results.NOTICED always count; a test that
        trips over something else has to be named here.
    more: further (file, old, new) that belong to the same breakage.
    """

    name: str
    says: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    raises: tuple[str, ...] = ()
    more: tuple[tuple[str, str, str], ...] = ()

    def edits(self) -> tuple[tuple[str, str, str], ...]:
        """(file, old, new) of the whole breakage."""
        return ((self.file, self.old, self.new), *self.more)

    def targets(self) -> list[str]:
        """What has to be built again before the tests run."""
        found: list[str] = []
        for file, _, _ in self.edits():
            fitting = [prefix for prefix in TARGETS if file.startswith(prefix)]
            found += TARGETS[max(fitting, key=len)] if fitting else ()
            if file.endswith((".c", ".h")):
                found += (target for test in self.tests for target in TEST_TARGETS.get(test.partition("::")[0], ()))
        return list(dict.fromkeys(found))

    def only_units(self) -> bool:
        """Whether it is judged by tests that start nothing: those of seconds."""
        return all(test.startswith(("tests/unit/", "lab/tests/unit/")) for test in self.tests)

    def mutated(self, root: Path = ROOT) -> dict[str, str]:
        """The changed files of the tree at root. Raises AssertionError unless each old text occurs exactly once."""
        out: dict[str, str] = {}
        for file, old, new in self.edits():
            text = out.get(file) or (root / file).read_text()
            count = text.count(old)
            assert count == 1, f"mutant {self.name}: the old text occurs {count} times in {file}"
            assert old != new, f"mutant {self.name} changes nothing in {file}"
            out[file] = text.replace(old, new)
        return out


@dataclass(frozen=True, slots=True)
class Group:
    """Mutants under one line of what the product promises."""

    promise: str
    mutants: tuple[Mutant, ...]
