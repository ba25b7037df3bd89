"""kill -9 of the agent and of Envoy under traffic: back, adopted, reported. How soon says `make bench` (recover.*)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.lab import Lab

from tidegate.linux.process import UNSEEN


@pytest.mark.case("E9")
def test_killed_agent_comes_back_and_adopts(web_lab: Lab, probe_lab: Lab) -> None:
    before = probe_lab.status()
    cookies = {pod["name"]: pod["netns_cookie"] for pod in before["pods"]}
    ports, relayed = envoys_ports(probe_lab), relays_ports(probe_lab)
    kill(before["agent"]["pid"])
    eventually(lambda: "error" not in probe_lab.probe("client", "dial", "talk", "7000"), "relayed again")
    after = eventually(lambda: (s := probe_lab.status())["healthy"] and s, "healthy again")
    assert after["agent"]["previous"] == "killed"
    assert after["agent"]["starts"] == before["agent"]["starts"] + 1
    assert after["kernel"]["adopted"]
    for program in ("envoy", "relay"):
        assert after[program]["pid"] == before[program]["pid"], f"{program} outlived the agent and was adopted"
    assert {pod["name"]: pod["netns_cookie"] for pod in after["pods"]} == cookies, "no pod was made anew"
    assert ports, "the kernel's rows were read"
    assert relays_ports(probe_lab) == relayed, "what connects meanwhile would be refused"
    assert envoys_ports(probe_lab) == ports, "a listener that moves would end the connections that it has"


def envoys_ports(lab: Lab) -> dict[str, tuple[int, int]]:
    """Where the kernel sends connections for Envoy, by pod."""
    rows = json.loads(lab.tidegate("pods", "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout)
    return {row["name"]: (row["envoy4"], row["envoy6"]) for row in rows if row["envoy4"]}


def test_http_does_not_notice_a_killed_agent(web_lab: Lab) -> None:
    load = web_lab.load("client", "http://web/", "--rate", "200", "--fresh")
    load.starts()
    before = web_lab.status()["agent"]
    kill(before["pid"])
    eventually(lambda: (s := web_lab.status())["healthy"] and s["agent"]["pid"] != before["pid"], "healthy again")
    got = load.stop()
    assert got["failed"] == 0, got


def test_killed_envoy_is_back(web_lab: Lab) -> None:
    before = web_lab.status()["envoy"]
    kill(before["pid"])
    eventually(lambda: web_lab.ask("client", "http://web/")["status"] == 200, "served again")
    after = eventually(lambda: (s := web_lab.status()["envoy"])["state"] == "running" and s, "running")
    assert after["restarts"] == before["restarts"] + 1
    # Only a parent learns an exit status: of an Envoy that was adopted from a killed agent it is not known.
    assert after["last_exit"] == (UNSEEN if before["adopted"] else "signal SIGKILL")


@pytest.mark.case("E9")
def test_killed_relay_is_back_on_the_same_ports(web_lab: Lab, probe_lab: Lab) -> None:
    before = probe_lab.status()["relay"]
    rows = relays_ports(probe_lab)
    kill(before["pid"])
    eventually(lambda: "error" not in probe_lab.probe("client", "dial", "talk", "7000"), "relayed again")
    after = eventually(lambda: (s := probe_lab.status())["healthy"] and s, "healthy again")["relay"]
    assert after["restarts"] == before["restarts"] + 1
    assert after["last_exit"] == (UNSEEN if before["adopted"] else "signal SIGKILL")
    assert rows, "the kernel's rows were read"
    assert relays_ports(probe_lab) == rows, "what connects meanwhile would be refused for longer"


def relays_ports(lab: Lab) -> dict[str, tuple[int, int]]:
    """Where the kernel sends connections for the relay, by pod."""
    rows = json.loads(lab.tidegate("pods", "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout)
    return {row["name"]: (row["fastpath4"], row["fastpath6"]) for row in rows}


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

        told = eventually(unhealthy, "unhealthy")
        assert told is not None
        assert (told.returncode, "UNHEALTHY: envoy is unresponsive" in told.stdout) == (1, True), told.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):  # one that is silent for a minute is replaced
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: web_lab.tidegate(*status, check=False).returncode == 0, "healthy again")
