"""Break the product on purpose, one mutant at a time, and see its tests turn red: `make test-mutants [ONLY=name]`.

First everything that is named runs unbroken and has to be green. Prints one line per mutant, writes build/mutants.json,
exits 1 if a mutant survived or could not be judged.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.mutants import cell
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.table import GROUPS

Verdict = Literal["caught", "SURVIVED", "tests broke", "did not build"]
NOTICED = ("AssertionError", "Failed")
SECONDS = 420.0  # for one mutant: build, labs, tests
# A mutant that makes a test wait in vain has been noticed; the unbroken product gets all the time of the world.
GIVE_UP_SOON = {"TIDEGATE_TEST_HANG_SECONDS": "20"}
ALL_SECONDS = 5400.0


@dataclass(frozen=True, slots=True)
class Result:
    promise: str
    name: str
    says: str
    verdict: Verdict
    by: str  # the test that noticed, or what happened instead
    saw: str
    seconds: float


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


def try_one(copy: Path, promise: str, mutant: Mutant) -> Result:
    start = time.monotonic()
    ran = cell.run(copy, mutant.mutated(copy), mutant.targets(), ["-x", *mutant.tests], SECONDS, GIVE_UP_SOON)
    verdict, by, saw = judge(mutant, ran)
    return Result(promise, mutant.name, mutant.says, verdict, by, saw, round(time.monotonic() - start, 1))


def green(copy: Path, mutants: Sequence[Mutant]) -> bool:
    """Run every named test once on the unbroken product."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    tests = [t for t in tests if t.partition("::")[0] == t or t.partition("::")[0] not in tests]
    print(f"unbroken: {len(tests)} tests and files", flush=True)
    start = time.monotonic()
    ran = cell.run(copy, {}, (), tests, ALL_SECONDS)
    print(f"unbroken: {'green' if ran.code == 0 else 'RED'} in {time.monotonic() - start:.0f} s", flush=True)
    if ran.code:
        print(ran.log[-20000:], file=sys.stderr)
    return ran.code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names or patterns (glob) of mutants; none: all")
    parser.add_argument("--no-baseline", action="store_true", help="trust that the tests are green unbroken")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwind as for Ctrl-C: nothing stays behind
    if os.geteuid() != 0:
        print("test-mutants: mutants run in namespaces of their own: run as root", file=sys.stderr)
        return 4
    chosen = [
        (group.promise, mutant)
        for group in GROUPS
        for mutant in group.mutants
        if not options.only or any(fnmatch.fnmatch(mutant.name, only) for only in options.only)
    ]
    if not chosen:
        print(f"test-mutants: no mutant is called {' '.join(options.only)}", file=sys.stderr)
        return 2
    with cell.copy_of_checkout() as copy:
        if not options.no_baseline and not green(copy, [mutant for _, mutant in chosen]):
            print("0 passed, 1 failed")
            return 1
        results = list(try_all(copy, chosen))
    caught = sum(result.verdict == "caught" for result in results)
    print(f"{caught} passed, {len(results) - caught} failed")
    return 0 if caught == len(results) else 1


def try_all(copy: Path, chosen: Sequence[tuple[str, Mutant]]) -> Iterator[Result]:
    """One after the other; build/mutants.json grows with each."""
    results: list[Result] = []
    for number, (promise, mutant) in enumerate(chosen, 1):
        if number == 1 or promise != chosen[number - 2][0]:
            print(f"== {promise}")
        result = try_one(copy, promise, mutant)
        results.append(result)
        print(
            f"[{number}/{len(chosen)}] {result.name}: {result.verdict} by {result.by} ({result.seconds} s)", flush=True
        )
        if result.verdict != "caught":
            print(f"    {mutant.says}\n    {result.saw}", flush=True)
        (ROOT / "build" / "mutants.json").write_text(json.dumps([asdict(each) for each in results], indent=1))
        yield result


if __name__ == "__main__":
    sys.exit(main())
