"""How mutants ended, kept in a file that grows with each: a run may be ended and gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.mutants import cell
from tests.mutants.mutant import Mutant

Verdict = Literal["caught", "SURVIVED", "tests broke", "did not build", "red unbroken"]
# pytest's own Failed: an exception that did not come, a time limit. Unmet: tests.bench.processes.
NOTICED = ("AssertionError", "Failed", "Unmet")


@dataclass(frozen=True, slots=True)
class Result:
    promise: str
    name: str
    says: str
    verdict: Verdict
    by: str  # the test that noticed, or what happened instead
    saw: str
    seconds: float
    of: str  # state() of what was tried


def judge(mutant: Mutant, ran: cell.Ran) -> tuple[Verdict, str, str]:
    """(verdict, by, saw). Only a test that fails in its own body, by what it asserts, has noticed the mutant."""
    if not ran.built:
        return "did not build", "make", ran.build_log[-2000:]
    noticed = [r for r in ran.bad() if r["when"] == "call" and r["type"] in (*NOTICED, *mutant.raises)]
    if noticed:
        return "caught", noticed[0]["test"], noticed[0]["says"]
    if ran.bad():
        first = ran.bad()[0]
        return "tests broke", f"{first['when']} of {first['test']}: {first['type']}", first["says"]
    if ran.code:
        return "tests broke", f"pytest exit code {ran.code}", ran.log[-2000:]
    return "SURVIVED", ", ".join(mutant.tests), ""


def unbroken(tests: Sequence[str], ran: cell.Ran) -> dict[str, str]:
    """Of tests that ran on the product as it is, those that are red, with what they said."""
    if not ran.code:
        return {}
    red = {test: row["says"] or row["type"] for test in tests for row in ran.bad() if _is_of(row["test"], test)}
    # Killed, or not even collected: nobody knows which.
    return red or dict.fromkeys(tests, f"pytest exit code {ran.code}: {ran.log[-2000:]}")


def _is_of(node: str, named: str) -> bool:
    """Whether a test is one of those that a mutant names: itself, a case of it, one of a file or of a directory."""
    return node == named or node.startswith(tuple(named + more for more in ("::", "[", "/")))


def state(mutant: Mutant, root: Path) -> str:
    """Changes when a result is worth nothing any more: another breakage, changed code around it, changed tests."""
    named = sorted({root / test.partition("::")[0] for test in mutant.tests})
    files = [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    parts: list[object] = [*sorted(mutant.mutated(root).items()), mutant.tests, mutant.raises]
    parts += [file.read_text() for file in files]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class Results:
    """The file. goes_on: what it has counts where a mutant was caught and its state is the same."""

    def __init__(self, file: Path, goes_on: bool) -> None:
        self._file = file
        kept = json.loads(file.read_text()) if goes_on and file.exists() else []
        self._by_name = {entry["name"]: Result(**entry) for entry in kept}

    def caught(self, mutant: Mutant, root: Path) -> bool:
        """Whether it was, and would be again."""
        result = self._by_name.get(mutant.name)
        return result is not None and result.verdict == "caught" and result.of == state(mutant, root)

    def add(self, result: Result) -> None:
        self._by_name[result.name] = result
        whole = self._file.with_suffix(".new")  # whoever is ended while writing leaves the file of before
        whole.write_text(json.dumps([asdict(each) for each in self._by_name.values()], indent=1))
        whole.replace(self._file)

    def verdict(self, name: str) -> Verdict | None:
        """None: not judged."""
        result = self._by_name.get(name)
        return result.verdict if result is not None else None
