"""Clients inside of the mesh: curl in a pod of a lab."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS
from tests.support.lab import Lab
from tests.support.outside import CURL, Answer, answer_of

_MANY = ("curl", "-sS", "--max-time", str(HANG_SECONDS), "-w", "\\n%{http_code} %{time_total} %{filename_effective}\\n")


@dataclass(frozen=True, slots=True)
class Reply:
    """One of many answers of a test server (web.py); status 0 = none. seconds: until it was there."""

    status: int
    body: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """One pod that asks. Raises AssertionError with all output where curl cannot be run."""

    lab: Lab
    pod: str
    namespace: str = "default"

    def get(self, url: str, *options: str | Path) -> Answer:
        """One request."""
        return answer_of(self.lab.exec(self.pod, *CURL, *options, url, namespace=self.namespace, check=False))

    def each(self, url: str, times: int, *options: str | Path) -> list[Reply]:
        """So many requests one after the other, on one connection as long as nobody ends it."""
        return replies(
            self.lab.exec(self.pod, *_MANY, *options, _numbered(url, times), namespace=self.namespace).stdout
        )

    def every(self, *requests: Sequence[str | Path]) -> list[Reply]:
        """Requests one after the other in one run of curl, each with its URL and options of its own."""
        parts = [part for request in requests for part in ("--next", *_MANY[1:], *request)]
        return replies(self.lab.exec(self.pod, _MANY[0], *parts[1:], namespace=self.namespace).stdout)

    def start(self, url: str, times: int, into: Path, *options: str | Path) -> subprocess.Popen[str]:
        """So many requests at once; finished() reads what became of them. into: a directory for the answers."""
        parallel = ("--parallel", "--parallel-immediate", "--parallel-max", str(times), "-o", into / "#1")
        return self.lab.start(self.pod, *_MANY, *parallel, *options, _numbered(url, times), namespace=self.namespace)


def finished(started: subprocess.Popen[str]) -> list[Reply]:
    """The answers to what Client.start() began, when all are there."""
    stdout, stderr = started.communicate(timeout=2 * HANG_SECONDS)
    assert started.returncode == 0, stderr
    return replies(stdout)


def replies(printed: str) -> list[Reply]:
    """What curl printed: a line of figures behind each body, or with the name of the file that has it."""
    found, body = [], ""
    for line in printed.splitlines():
        figures = re.fullmatch(r"(\d{3}) ([\d.]+) (.*)", line)
        if figures is None:
            body += line
            continue
        status, seconds, file = figures.groups()
        if file and Path(file).exists():
            body = Path(file).read_text()
        found.append(Reply(int(status), body, float(seconds)))
        body = ""
    return found


def pods(answers: list[Reply]) -> Counter[str]:
    """How many each pod answered; "" = an answer of nobody's."""
    return Counter(str(reply.json["pod"]) if reply.body.startswith("{") else "" for reply in answers)


def versions(answers: list[Reply]) -> Counter[str]:
    """How many each version answered; "" = an answer of nobody's."""
    return Counter(str(reply.json["version"]) if reply.body.startswith("{") else "" for reply in answers)


def statuses(answers: list[Reply]) -> Counter[int]:
    """How many had which status."""
    return Counter(reply.status for reply in answers)


def _numbered(url: str, times: int) -> str:
    """The URL for curl, which makes so many of it."""
    return f"{url}{'&' if '?' in url else '?'}n=[1-{times}]"
