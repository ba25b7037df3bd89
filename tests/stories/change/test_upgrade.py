"""The agent of another ABI version takes over a node on which captured pods make new connections all the time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bpf import next_version
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, ROOT, Lab

from tidegate.bpf.pins import Pins
from tidegate.bpf.upgrade import SETTINGS, written_by
from tidegate.native import lib
from tidegate_lab.paths import LabPaths

# What a connect() of this lab's enrolled pods must never be told: each would leave uncaptured. So would one told
# `pass_not_enrolled`, but Envoy's own connections to endpoints, which leave from the node, are counted there, too; that
# none of the pod's is among them shows in the number of its captured ones.
LEAKS = ("pass_unknown", "pass_workload", "pass_no_listener", "pass_no_v6_capture")


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """The agent that the lab starts next."""
    current = tmp_path / "current"
    current.symlink_to(ROOT / "agent")
    return current


@pytest.fixture
def lab(current: Path) -> Iterator[Lab]:
    lab = Lab("upgrade")
    lab.env["PYTHONPATH"] = str(current)
    lab.up(MANIFESTS / "web.yaml")
    yield lab
    lab.down()


def test_no_connection_leaves_uncaptured_while_the_agent_is_upgraded(lab: Lab, current: Path, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    build = next_version.build(tmp_path / "next")
    (name,) = (path.name for path in lab.node_dirs())
    settings = Pins(LabPaths.of(lab.name).node_bpffs(name)).maps / SETTINGS
    assert written_by(settings) == lib.TG_ABI_VERSION
    first = lab.metric("tidegate_verdicts_total", reason="redirect_envoy")
    load = lab.load("client", "http://web/", "--rate", "200", "--fresh")
    load.starts()
    before = lab.status()
    leaks = {reason: lab.metric("tidegate_verdicts_total", reason=reason) for reason in LEAKS}
    captured = lab.metric("tidegate_verdicts_total", reason="redirect_envoy")

    other = tmp_path / "other"
    other.symlink_to(build / "agent")
    other.rename(current)
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    after = eventually(
        lambda: (s := lab.status())["healthy"] and s["agent"]["pid"] != before["agent"]["pid"] and s, "healthy again"
    )
    enough = captured + 50
    eventually(lambda: lab.metric("tidegate_verdicts_total", reason="redirect_envoy") > enough, "more connections")

    got = load.stop()
    assert got["failed"] == 0, got
    assert lab.metric("tidegate_verdicts_total", reason="redirect_envoy") - first == got["connections"], got
    assert {reason: lab.metric("tidegate_verdicts_total", reason=reason) for reason in LEAKS} == leaks
    assert written_by(settings) == next_version.VERSION
    assert after["envoy"]["pid"] == before["envoy"]["pid"]
    assert len(after["kernel"]["attached"]) == len(before["kernel"]["attached"])
    assert [a["link"] for a in after["kernel"]["attached"]] == [a["link"] for a in before["kernel"]["attached"]]
