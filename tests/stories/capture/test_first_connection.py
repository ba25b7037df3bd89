"""ADD, CHECK and DEL against a running agent: when a pod starts it is captured, when it is gone it is forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
from tests.support.cni import call
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import PATIENTLY, Lab

PODS = 6
EAGER = """---
apiVersion: v1
kind: Pod
metadata: {{name: eager-{number}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    command: [bash, -c, "exec 3<>/dev/tcp/{vip}/7000; echo who >&3; head -n1 <&3 || echo none; exec sleep infinity"]
"""


PATIENT = """
apiVersion: v1
kind: Pod
metadata: {name: patient}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    command: [sh, -c, "touch ran; exec sleep infinity"]
"""


def test_the_very_first_connection_of_a_pod_is_captured(probe_lab: Lab, tmp_path: Path) -> None:
    """A Service address leads nowhere unless it is captured, and bash dials it within milliseconds of its start."""
    vip = probe_lab.dial("client", "talk", 7000)["dialled"]
    manifest = tmp_path / "eager.yaml"
    manifest.write_text("".join(EAGER.format(number=number, vip=vip) for number in range(PODS)))
    probe_lab.apply(manifest)
    try:
        pods = probe_lab.pods()
        for number in range(PODS):
            said = eventually(partial(said_by, probe_lab, f"eager-{number}"), "it has been answered, or not")
            assert pods[f"default/eager-{number}"]["ip"] in said, said
    finally:
        probe_lab.delete(manifest)


def said_by(lab: Lab, pod: str) -> str:
    """The log of a pod, which counts as ready before it has said anything."""
    return lab.tidegate("lab", "logs", pod).stdout


def test_no_container_starts_before_its_pod_is_enrolled(web_lab: Lab, tmp_path: Path) -> None:
    """A pod whose Services need Envoy waits for its listener: with an Envoy that is stopped, ADD does not return."""
    manifest, ran = tmp_path / "patient.yaml", tmp_path / "ran"
    manifest.write_text(PATIENT)
    envoy = web_lab.status()["envoy"]["pid"]
    os.kill(envoy, signal.SIGSTOP)
    try:
        applying = web_lab.start_command("lab", "apply", "-f", manifest, *PATIENTLY)
        eventually(lambda: "default/patient" in web_lab.pods(), "the pod is on its way")
        with pytest.raises(subprocess.TimeoutExpired):
            applying.wait(1.5)
        assert not ran.exists(), "its container runs although nothing captures its connections"
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert applying.wait(HANG_SECONDS) == 0
    eventually(ran.exists, "its container runs")
    web_lab.delete(manifest)


def known(lab: Lab) -> set[str]:
    """Names of the pods that the agent knows."""
    return {pod["name"] for pod in lab.status()["pods"]}


def test_a_pod_that_is_gone_is_forgotten(probe_lab: Lab, tmp_path: Path) -> None:
    before = {name.partition("/")[2] for name in probe_lab.pods()}
    eventually(lambda: known(probe_lab) == before, "pods of earlier stories are forgotten")
    rows = sum(bool(pod["enrolled"]) for pod in probe_lab.status()["pods"])
    eventually(lambda: probe_lab.status()["kernel"]["pods"] == rows, "by the kernel, too")
    manifest = tmp_path / "brief.yaml"
    manifest.write_text(EAGER.format(number="brief", vip="127.0.0.1"))
    probe_lab.apply(manifest)
    assert known(probe_lab) == {*before, "eager-brief"}
    assert probe_lab.status()["kernel"]["pods"] == rows + 1
    probe_lab.delete(manifest)
    eventually(lambda: known(probe_lab) == before, "status forgets the pod")
    eventually(lambda: probe_lab.status()["kernel"]["pods"] == rows, "the kernel forgets the pod")


async def test_check_misses_a_pod_that_the_agent_does_not_know(probe_lab: Lab) -> None:
    done = await call("CHECK", probe_lab.node_dirs()[0] / "cni.sock")
    assert done.code == 1, done
    assert done.json["code"] == 11
    assert "not known" in done.json["details"]
