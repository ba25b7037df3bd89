"""Long-running programs of a benchmark, and on which CPUs they run."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


class Unmet(BenchError):
    """Not a tool's trouble: the product did not do what was awaited, or answered a client with an error."""


def run(*command: str | Path, stdin: str = "") -> str:
    """Run a command to its end and return what it printed. Raises BenchError with its errors if it fails."""
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


class Program:
    """A started program that stops when it is told to; its output is kept for the error message."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._output = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - lives as long as the program
        self._process = subprocess.Popen(command, stdout=self._output, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        """Its process id (the launchers before it exec, so it is the program's own)."""
        return self._process.pid

    def check(self) -> None:
        """Raise BenchError with the end of its output if it is gone."""
        code = self._process.poll()
        if code is not None:
            self._output.seek(0)
            raise BenchError(f"{self.name} ended with {code}: {self._output.read()[-800:].strip()}")

    def stop(self) -> None:
        """SIGTERM, SIGKILL after 5 s."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=60)
        self._output.close()


def alone(seconds: float = 600.0) -> socket.socket:
    """Wait until no other benchmark runs on this machine and hold its place until the returned socket is closed.

    An abstract unix socket is the lock: it leaves no file and ends with its process.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def take() -> None:
        try:
            lock.bind("\0tidegate-bench")
        except OSError as error:
            raise BenchError("another benchmark is running") from error

    until(take, "two at a time would measure each other", seconds)
    return lock


def until(condition: Callable[[], None], what: str, seconds: float = 180.0) -> None:
    """Call until it raises BenchError no more; raises the last one after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            condition()
            return
        except BenchError as error:
            if time.monotonic() > deadline:
                raise BenchError(f"{what}: {error}") from error
        time.sleep(0.1)


def pin(pids: Iterable[int], cpus: set[int]) -> None:
    """Let every thread of these processes run on these CPUs only; threads started later inherit it."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), cpus)


class Lines:
    """Lines of a pipe. What a buffered file has read already, select() does not see: of two that come at once it would
    give the first and wait for a third."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = b""  # what came and was not asked for yet

    def line(self, seconds: float) -> bytes:
        """The next one without its end; what there is of it if no more comes: nothing for so long, or an end."""
        while b"\n" not in self._read and select.select([self._descriptor], [], [], seconds)[0]:
            more = os.read(self._descriptor, 1 << 16)
            if not more:
                break
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line
