"""Runs the suites of `make test` in lanes, all at once.

`python -m tests.support.lanes RESULTS SUITE=PATH[,PATH]... [+ SUITE=PATH...]...`: `+` begins the next lane. A lane runs
its suites one after the other, each even if one before it failed. The first lane has the machine itself; each other one
is a cell (`cell.sh`) with network, mounts, processes and control groups of its own, because labs of two suites have the
same names. RESULTS/SUITE.xml is what `closing_line.py` adds up. Progress is told line by line with the suite's name;
what else a suite prints comes in one piece when it has ended.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

CELL = Path(__file__).with_name("cell.sh")
_PROGRESS = re.compile(r"[.FEsxX]+ *\[ *\d+%\]$")


@dataclass(frozen=True, slots=True)
class Suite:
    """A name and the directories that pytest runs under it."""

    name: str
    paths: tuple[str, ...]

    def command(self, results: Path) -> list[str]:
        """What runs it and writes results/NAME.xml."""
        report = results / f"{self.name}.xml"
        return [sys.executable, "-m", "pytest", "-q", *self.paths, f"--junit-xml={report}"]


def lanes_of(words: Sequence[str]) -> list[list[Suite]]:
    """Lanes as the command line spells them.

    Raises ValueError for a word that is neither `+` nor SUITE=PATH[,PATH]...
    """
    lanes: list[list[Suite]] = [[]]
    for word in words:
        name, equals, paths = word.partition("=")
        if word == "+":
            lanes.append([])
        elif name and equals and paths:
            lanes[-1].append(Suite(name, tuple(paths.split(","))))
        else:
            raise ValueError(f"{word!r} is neither '+' nor SUITE=PATH[,PATH]...")
    return lanes


@dataclass
class Lane:
    """Suites that run one after the other."""

    suites: list[Suite]
    results: Path
    say: Callable[[str], None]
    prefix: tuple[str, ...] = ()
    _child: subprocess.Popen[str] | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def run(self) -> None:
        """Run every suite; a suite's exit code is not looked at, its result file tells."""
        for suite in self.suites:
            if self._stopped:
                return
            self._run(suite)

    def stop(self) -> None:
        """End the suite that runs and begin no other."""
        self._stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def _run(self, suite: Suite) -> None:
        self.say(f"== {suite.name} begins: {' '.join(suite.paths)}")
        command = [*self.prefix, *suite.command(self.results)]
        rest: list[str] = []
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child:
            self._child = child
            assert child.stdout is not None
            for line in child.stdout:
                if _PROGRESS.fullmatch(line.rstrip()):
                    self.say(f"{suite.name:10} {line.rstrip()}")
                else:
                    rest.append(line.rstrip("\n"))
        self.say("\n".join([f"== {suite.name}", *rest]))


def main(words: Sequence[str]) -> int:
    """Run all lanes to their ends; 0, or 2 for words that say nothing."""
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    results = Path(words[0])
    lock = threading.Lock()

    def say(text: str) -> None:
        with lock:
            print(text, flush=True)

    lanes = [
        Lane(suites, results, say, (str(CELL),) if number else ()) for number, suites in enumerate(lanes_of(words[1:]))
    ]

    def end(number: int, frame: FrameType | None) -> None:
        for lane in lanes:
            lane.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threads = [threading.Thread(target=lane.run, name=lane.suites[0].name) for lane in lanes if lane.suites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
