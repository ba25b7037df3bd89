"""Starts the sample services for real, on loopback ports, as their manifests do."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
PYTHON = "/usr/bin/python3"  # what the manifests run: the distribution's, with no package of ours


@dataclass(slots=True)
class Running:
    """One started service."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """Where another service finds it."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, host: str = "127.0.0.1") -> http.client.HTTPConnection:
        """A new client connection."""
        return http.client.HTTPConnection(host, self.port, timeout=10)

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers (lower case), body."""
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """The JSON document at `path`, whatever the status."""
        return json.loads(self.ask(path, headers=headers)[2])

    def terminate(self) -> str:
        """SIGTERM, as a kubelet does; returns what was logged. The exit code must be 0."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=15)
        assert self.process.returncode == 0
        return output


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """start("bookinfo/src/reviews.py", SERVICE_VERSION="v2") -> Running; stopped at the end of the test."""
    running: list[Running] = []

    def one(script: str, **env: str) -> Running:
        process = subprocess.Popen(
            [PYTHON, "-B", str(SAMPLES / script)],
            env={"PORT": "0", "PYTHONPATH": str(SAMPLES / "serving"), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(Running(process, 0))
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"listens on port (\d+)", line)
        assert found, f"{script}: {line}"
        running[-1].port = int(found[1])
        return running[-1]

    yield one
    for service in running:
        service.process.kill()
        service.process.communicate(timeout=10)


@pytest.fixture
def bookinfo(start: Start) -> Callable[[str], Running]:
    """bookinfo("v2") starts all four services with that version of reviews and returns productpage."""

    def whole(version: str) -> Running:
        details = start("bookinfo/src/details.py", POD_NAME="details-pod")
        ratings = start("bookinfo/src/ratings.py", POD_NAME="ratings-pod")
        reviews = start(
            "bookinfo/src/reviews.py",
            SERVICE_VERSION=version,
            POD_NAME=f"reviews-{version}-pod",
            RATINGS_URL=ratings.url,
        )
        return start(
            "bookinfo/src/productpage.py", DETAILS_URL=details.url, REVIEWS_URL=reviews.url, RATINGS_URL=ratings.url
        )

    return whole
