"""/healthz/ready is about the node, `tidegate status` about everything on it: one user stops no roll-out."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.support.eventually import eventually
from tests.support.lab import Lab
from tests.support.strict_envoy import REFUSED, refuses_expressions

REFUSED_BY_ENVOY = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: odd }}
spec:
  hosts: [web]
  http:
    - match: [{{ uri: {{ regex: "{REFUSED}" }} }}]
      route: [{{ destination: {{ host: web }} }}]
"""


def ready(lab: Lab) -> tuple[int, str]:
    """Status and text of /healthz/ready."""
    asked = subprocess.run(
        [
            "curl",
            "-sS",
            "-w",
            "%{http_code}",
            "--unix-socket",
            lab.node_dirs()[0] / "agent.sock",
            "http://a/healthz/ready",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(asked.stdout[-3:]), asked.stdout[:-3]


def test_readiness_is_about_the_node(web_lab: Lab) -> None:
    eventually(lambda: ready(web_lab) == (200, "ready\n"), "ready before")
    try:
        with refuses_expressions(web_lab.node_dirs()[0]):
            told = web_lab.apply(REFUSED_BY_ENVOY, check=False)
            assert told.returncode == 1
            assert "VirtualService default/odd" in told.stderr
            assert "is not in force" in told.stderr
            [refused] = eventually(
                lambda: web_lab.status()["appliers"]["envoy"]["failures"], "the refusal shows in status"
            )
            assert not web_lab.status()["healthy"]
            assert "VirtualService default/odd" in " ".join(refused["origins"]), refused
            assert web_lab.tidegate("status", "--run-dir", web_lab.node_dirs()[0], check=False).returncode == 1
            assert ready(web_lab) == (200, "ready\n")
            assert web_lab.ask("client", "http://web/")["status"] == 200, "the last good routes serve"
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    eventually(lambda: web_lab.status()["healthy"], "healthy again")


def test_a_node_without_its_envoy_is_not_ready(web_lab: Lab) -> None:
    pid = web_lab.status()["envoy"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: ready(web_lab) == (503, "envoy up\n"), "not ready")
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: ready(web_lab)[0] == 200, "ready again")
