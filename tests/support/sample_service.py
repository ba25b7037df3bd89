"""A sample service started for real, on a loopback port, as its manifest does."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
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
        return http.client.HTTPConnection(host, self.port, timeout=HANG_SECONDS)

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
        output, _ = self.process.communicate(timeout=HANG_SECONDS)
        assert self.process.returncode == 0
        return output


Start = Callable[..., Running]


def launch(script: str, env: dict[str, str]) -> Running:
    """Start samples/SCRIPT on a free port; returns when it listens."""
    process = subprocess.Popen(
        [PYTHON, "-B", str(SAMPLES / script)],
        env={"PORT": "0", "PYTHONPATH": str(SAMPLES / "serving"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"listens on port (\d+)", line)
    if not found:
        process.kill()
        raise AssertionError(f"{script}: {line}{process.communicate(timeout=HANG_SECONDS)[0]}")
    return Running(process, int(found[1]))
