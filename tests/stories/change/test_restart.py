"""kill -9 of the agent and of Envoy under traffic: back in time, adopted, reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.support.eventually import SLOWDOWN, eventually
from tests.support.lab import Lab

from tidegate.linux.process import UNSEEN


def test_killed_agent_comes_back_and_adopts(web_lab: Lab, probe_lab: Lab) -> None:
    before = probe_lab.status()
    cookies = {pod["name"]: pod["netns_cookie"] for pod in before["pods"]}
    ports = envoys_ports(probe_lab)
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: "error" not in probe_lab.probe("client", "dial", "talk", "7000"), "relayed again", timeout=3.0)
    assert time.monotonic() - killed <= 3.0 * SLOWDOWN
    after = eventually(lambda: (s := probe_lab.status())["healthy"] and s, "healthy again", timeout=10)
    assert after["agent"]["previous"] == "killed"
    assert after["agent"]["starts"] == before["agent"]["starts"] + 1
    assert after["kernel"]["adopted"]
    assert after["envoy"]["pid"] == before["envoy"]["pid"], "Envoy outlived the agent and was adopted"
    assert {pod["name"]: pod["netns_cookie"] for pod in after["pods"]} == cookies, "no pod was made anew"
    assert ports, "the kernel's rows were read"
    assert envoys_ports(probe_lab) == ports, "a listener that moves would end the connections that it has"


def envoys_ports(lab: Lab) -> dict[str, tuple[int, int]]:
    """Where the kernel sends connections for Envoy, by pod."""
    rows = json.loads(lab.tidegate("pods", "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout)
    return {row["name"]: (row["envoy4"], row["envoy6"]) for row in rows if row["envoy4"]}


def test_http_does_not_notice_a_killed_agent(web_lab: Lab) -> None:
    from tests.support.lab import ASK

    load = web_lab.start("client", "/usr/bin/python3", ASK, "http://web/", "--count", "800", "--rate", "200", "--fresh")
    eventually(lambda: web_lab.metric("tidegate_verdicts_total", reason="redirect_envoy") > 0, "traffic flows")
    os.kill(web_lab.status()["agent"]["pid"], signal.SIGKILL)
    out, err = load.communicate(timeout=60)
    assert '"failed": 0' in out, out + err
    eventually(lambda: web_lab.status()["healthy"], "healthy again", timeout=10)


def test_killed_envoy_is_back_within_two_seconds(web_lab: Lab) -> None:
    before = web_lab.status()["envoy"]
    os.kill(before["pid"], signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: web_lab.ask("client", "http://web/")["status"] == 200, "served again", timeout=2.5)
    assert time.monotonic() - killed <= (2.0 + 0.3) * SLOWDOWN, "0.3 s is what starting the client in the pod takes"
    after = eventually(lambda: (s := web_lab.status()["envoy"])["state"] == "running" and s, "running", timeout=5)
    assert after["restarts"] == before["restarts"] + 1
    # Only a parent learns an exit status: of an Envoy that was adopted from a killed agent it is not known.
    assert after["last_exit"] == (UNSEEN if before["adopted"] else "signal SIGKILL")


def test_status_is_unhealthy_while_envoy_is_silent(web_lab: Lab) -> None:
    """Exit code and words; a stopped process is silent for as long as the test likes."""
    status: list[str | Path] = ["status", "--run-dir", web_lab.node_dirs()[0]]
    assert web_lab.tidegate(*status, check=False).returncode == 0
    pid = web_lab.status()["envoy"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:

        def unhealthy() -> subprocess.CompletedProcess[str] | None:
            told = web_lab.tidegate(*status, check=False)
            return told if told.returncode else None

        told = eventually(unhealthy, "unhealthy", timeout=15)
        assert told is not None
        assert (told.returncode, "UNHEALTHY: envoy is unresponsive" in told.stdout) == (1, True), told.stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: web_lab.tidegate(*status, check=False).returncode == 0, "healthy again", timeout=10)
