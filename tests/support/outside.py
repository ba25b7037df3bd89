"""Clients outside of the mesh: curl and openssl on this machine, which reach a lab by its LoadBalancer Services."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS
from tests.support.lab import Lab


def external_address(lab: Lab, service: str, namespace: str = "istio-system") -> str:
    """Where this machine reaches a LoadBalancer Service of the lab."""
    rows = json.loads(lab.tidegate("lab", "services", "-o", "json").stdout)
    return next(str(r["external"]) for r in rows if (r["namespace"], r["name"]) == (namespace, service))


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got; status 0 = no answer of HTTP, and error says why."""

    status: int
    version: str  # of HTTP
    headers: dict[str, str]
    body: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def curl(address: str, url: str, *options: str | Path) -> Answer:
    """Ask for a URL at an address, whatever its host resolves to."""
    host = url.partition("://")[2].partition("/")[0]
    name, _, port = host.partition(":")
    number = port or ("443" if url.startswith("https") else "80")
    where = ("--resolve", f"{name}:{number}:{address}")
    done = subprocess.run([*CURL, *where, *map(str, options), url], capture_output=True, text=True, check=False)
    return answer_of(done)


CURL = ("curl", "-sS", "-D", "-", "--max-time", str(HANG_SECONDS), "-w", "\n%{http_code} %{http_version}")


def answer_of(done: subprocess.CompletedProcess[str]) -> Answer:
    """What CURL with some options and one URL printed."""
    text, _, last = done.stdout.rpartition("\n")
    status, _, version = last.partition(" ")
    text = text.replace("\r\n", "\n")
    while text.startswith("HTTP/") and text.partition("\n")[0].split()[1].startswith("1"):
        text = text.partition("\n\n")[2]  # 100, or 200 of a tunnel: what comes before the answer
    head, _, body = text.partition("\n\n")
    lines = [line.partition(":") for line in head.splitlines()[1:]]
    headers = {key.lower(): value.strip() for key, _, value in lines}
    return Answer(int(status or 0), version, headers, body, done.stderr.strip())
