"""Add up the JUnit files of all suites; exit 1 if anything failed, was skipped or did not run."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main(results: Path, suites: list[str]) -> int:
    passed = failed = skipped = 0
    for suite in suites:
        path = results / f"{suite}.xml"
        if not path.exists():
            print(f"suite {suite} left no result", file=sys.stderr)
            failed += 1
            continue
        for counts in ET.parse(path).getroot().iter("testsuite"):
            total = int(counts.get("tests", 0))
            bad = int(counts.get("failures", 0)) + int(counts.get("errors", 0))
            left_out = int(counts.get("skipped", 0))
            print(
                f"{suite:10} {total - bad - left_out} passed, {bad} failed, {left_out} skipped, {counts.get('time')} s"
            )
            if total == 0:
                print(f"suite {suite} ran no test", file=sys.stderr)
                failed += 1
            passed, failed, skipped = passed + total - bad - left_out, failed + bad, skipped + left_out
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or skipped else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
