"""Break the product on purpose, one mutant at a time, and see its tests turn red: `make test-mutants [ONLY=name]`.

What is named runs unbroken first, some tests at a time, and has to be green. Prints one line per mutant, writes
build/mutants.json, exits 1 if a mutant survived or could not be judged. Mutants that only unit tests judge come first.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants import cell
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.results import Result, Results, Verdict, judge, state, unbroken
from tests.mutants.table import GROUPS

FILE = ROOT / "build" / "mutants.json"
SECONDS = 420.0  # for one mutant: build, labs, tests
# A mutant that makes a test wait in vain has been noticed; the unbroken product gets all the time of the world.
# On a machine that has much else to do, say more: `TIDEGATE_TEST_HANG_SECONDS=60 make test-mutants`.
# Taken out of our own environment, which the unbroken product's tests have too.
GIVE_UP_SOON = {"TIDEGATE_TEST_HANG_SECONDS": os.environ.pop("TIDEGATE_TEST_HANG_SECONDS", "20")}
ALL_SECONDS = 5400.0  # for the unbroken product
TOGETHER = 20  # mutants whose tests run unbroken in one go: who ends a run early has not waited for those of all

Chosen = tuple[str, Mutant]  # promise, mutant


def in_order(only: Sequence[str]) -> list[Chosen]:
    """The mutants that are named by patterns (none: all), those that only unit tests judge first."""
    chosen = [
        (group.promise, mutant)
        for group in GROUPS
        for mutant in group.mutants
        if not only or any(fnmatch.fnmatch(mutant.name, each) for each in only)
    ]
    return sorted(chosen, key=lambda each: not each[1].only_units())


def together(chosen: Sequence[Chosen]) -> Iterator[list[Chosen]]:
    """Portions whose tests run unbroken in one go, those of units by themselves: a run that is ended early has then
    results of all that it waited for."""
    for _, portion in itertools.groupby(chosen, key=lambda each: each[1].only_units()):
        mutants = list(portion)
        yield from (mutants[start : start + TOGETHER] for start in range(0, len(mutants), TOGETHER))


class Run:
    """Mutants of a copy of the checkout, one after the other."""

    def __init__(self, copy: Path, results: Results, baseline: bool) -> None:
        """baseline: False trusts that the tests are green unbroken."""
        self._copy, self._results, self._baseline = copy, results, baseline
        self._green: set[str] = set()

    def try_all(self, chosen: Sequence[Chosen]) -> None:
        number = 0
        last = ""
        for portion in together(chosen):
            red = self._unbroken([mutant for _, mutant in portion]) if self._baseline else {}
            for promise, mutant in portion:
                number += 1
                if promise != last:
                    print(f"== {promise}")
                    last = promise
                result = self._try(promise, mutant, red)
                self._results.add(result)
                print(f"[{number}/{len(chosen)}] {mutant.name}: {result.verdict} by {result.by} ({result.seconds} s)")
                if result.verdict != "caught":
                    print(f"    {mutant.says}\n    {result.saw}")
                sys.stdout.flush()

    def _unbroken(self, mutants: Sequence[Mutant]) -> dict[str, str]:
        """Run every named test on the product as it is, unless it did so before. The red ones, with what was said."""
        tests = sorted({test for mutant in mutants for test in mutant.tests} - self._green)
        tests = [test for test in tests if "::" not in test or test.partition("::")[0] not in (*tests, *self._green)]
        if not tests:
            return {}
        print(f"unbroken: {len(tests)} tests and files", flush=True)
        start = time.monotonic()
        ran = cell.run(self._copy, {}, (), tests, ALL_SECONDS)
        red = unbroken(tests, ran)
        self._green |= set(tests) - red.keys()
        print(f"unbroken: {'RED' if red else 'green'} in {time.monotonic() - start:.0f} s", flush=True)
        if red:
            print(ran.log[-20000:], file=sys.stderr)
        return red

    def _try(self, promise: str, mutant: Mutant, red: dict[str, str]) -> Result:
        start = time.monotonic()
        named = [test for test in (*mutant.tests, *(test.partition("::")[0] for test in mutant.tests)) if test in red]
        verdict: Verdict = "red unbroken"
        if named:
            by, saw = ", ".join(named), red[named[0]]
        else:
            changed = mutant.mutated(self._copy)
            ran = cell.run(self._copy, changed, mutant.targets(), ["-x", *mutant.tests], SECONDS, GIVE_UP_SOON)
            verdict, by, saw = judge(mutant, ran)
        seconds = round(time.monotonic() - start, 1)
        return Result(promise, mutant.name, mutant.says, verdict, by, saw, seconds, state(mutant, self._copy))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names or patterns (glob) of mutants; none: all")
    parser.add_argument("--no-baseline", action="store_true", help="trust that the tests are green unbroken")
    parser.add_argument(
        "--continue",
        dest="goes_on",
        action="store_true",
        help="not again those that build/mutants.json has as caught, if they, the code and the tests are the same",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwind as for Ctrl-C: nothing stays behind
    if os.geteuid() != 0:
        print("test-mutants: mutants run in namespaces of their own: run as root", file=sys.stderr)
        return 4
    chosen = in_order(options.only)
    if not chosen:
        print(f"test-mutants: no mutant is called {' '.join(options.only)}", file=sys.stderr)
        return 2
    results = Results(FILE, options.goes_on)
    with cell.copy_of_checkout() as copy:
        left = [each for each in chosen if not results.caught(each[1], copy)]
        if len(left) < len(chosen):
            print(f"{len(chosen) - len(left)} of {len(chosen)} were caught before")
        try:
            Run(copy, results, not options.no_baseline).try_all(left)
        except (KeyboardInterrupt, SystemExit):
            print(f"ended early; CONTINUE=1 goes on after {len(chosen) - len(left)} and those above")
            raise
    caught = sum(results.verdict(mutant.name) == "caught" for _, mutant in chosen)
    print(f"{caught} passed, {len(chosen) - caught} failed")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
