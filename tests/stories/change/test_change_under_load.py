"""Configuration changes while requests flow: in force within a second, no request lost, bad input changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from tests.support.eventually import eventually
from tests.support.lab import ASK, Lab

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: web }}
spec:
  hosts: [web]
  http:
    - route: [{{ destination: {{ host: web, subset: {subset} }} }}]
"""


@pytest.mark.parametrize("mode", ["kept-alive", "fresh"])
def test_a_change_is_in_force_within_a_second_and_nothing_fails(web_lab: Lab, mode: str) -> None:
    web_lab.apply(RULE.format(subset="v1"))
    options = ["--count", "2000", "--rate", "200", *(["--fresh"] if mode == "fresh" else [])]
    load = web_lab.start("client", "/usr/bin/python3", ASK, "http://web/", *options)
    written = []
    for subset in ("v2", "v1", "v2", "v1"):
        applied = web_lab.tidegate("lab", "pods", check=True)  # any call: the load is running by now
        assert applied.returncode == 0
        path = web_lab.run_dir / "applied-by-test.yaml"
        path.write_text(RULE.format(subset=subset))
        written.append((time.time(), subset))
        web_lab.tidegate("lab", "apply", "-f", path)
    out, err = load.communicate(timeout=60)
    got = json.loads(out)
    assert (got["failed"], set(got["statuses"])) == (0, {"200"}), (got["failures"], err)
    seen = [tuple(change) for change in got["changes"]]
    for when, subset in written:
        after = next((at for at, version in seen if at >= when and version == subset), None)
        assert after is not None, f"{subset} was never seen"
        assert after - when <= 1.0, f"{subset} took {after - when:.2f} s"
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_apply_returns_when_the_change_is_in_force(web_lab: Lab) -> None:
    """Whoever asks after `lab apply` gets the new rule, however busy the agent was meanwhile."""
    agent = web_lab.status()["agent"]["pid"]
    for subset in ("v2", "v1", "v2", "v1"):
        os.kill(agent, signal.SIGSTOP)  # a slow agent: it goes on only when apply has been waiting for a moment
        path = web_lab.run_dir / "applied-by-test.yaml"
        path.write_text(RULE.format(subset=subset))
        applying = web_lab.start_command("lab", "apply", "-f", path)
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                applying.wait(1.0)
        finally:
            os.kill(agent, signal.SIGCONT)
        assert applying.wait(20) == 0
        assert web_lab.ask("client", "http://web/", "--count", "5")["versions"] == {subset: 5}
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_broken_yaml_is_reported_with_its_line_and_changes_nothing(web_lab: Lab) -> None:
    web_lab.apply(RULE.format(subset="v1"))
    path = web_lab.run_dir / "broken.yaml"
    path.write_text(RULE.format(subset="v2").replace("host: web,", "hoost: web,"))
    refused = web_lab.tidegate("lab", "apply", "-f", path, check=False)
    assert refused.returncode == 1
    assert f"{path}:8" in refused.stdout + refused.stderr
    assert web_lab.ask("client", "http://web/", "--count", "50")["versions"] == {"v1": 50}
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_a_document_that_breaks_under_a_running_agent_keeps_its_last_good_version(web_lab: Lab) -> None:
    """The agent itself reads the directory: what a person breaks there is reported by status, and keeps serving."""
    web_lab.apply(RULE.format(subset="v1"))
    copy = next(
        p
        for p in web_lab.run_dir.glob("cluster/**/*.yaml")
        if "subset: v1" in p.read_text() and "hosts: [web]" in p.read_text()
    )
    good = copy.read_text()
    copy.write_text(good.replace("route:", "rout:"))
    problem = eventually(lambda: web_lab.status()["config"]["problems"], "the problem shows in status")[0]
    assert (problem["kind"], problem["name"], problem["line"]) == ("VirtualService", "web", 8)
    assert web_lab.ask("client", "http://web/", "--count", "50")["versions"] == {"v1": 50}
    os.kill(web_lab.status()["agent"]["pid"], signal.SIGKILL)
    eventually(lambda: web_lab.status()["agent"]["previous"] == "killed", "the next agent is there", timeout=10)
    eventually(lambda: web_lab.status()["config"]["problems"], "it reports the problem too", timeout=10)
    assert web_lab.ask("client", "http://web/", "--count", "50")["versions"] == {"v1": 50}
    copy.write_text(good)
    eventually(lambda: not web_lab.status()["config"]["problems"], "the problem is gone")
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


EXTRA_POD = """
apiVersion: v1
kind: Pod
metadata: { name: web-extra, labels: { app: web, version: v3 } }
spec:
  containers:
    - { name: c, command: ["/usr/bin/python3", WEB, "8080"] }
"""


def test_pods_that_come_and_go_leave_connections_to_others_behind_a_headless_name_alone(web_lab: Lab) -> None:
    """Envoy would end them all (long streams after its drain time), if their filter chain changed with the pods."""
    chosen = next(pod["ip"] for name, pod in web_lab.pods().items() if "/web-v1" in name)
    url = f"http://{chosen}:8080/"
    load = web_lab.start("client", "/usr/bin/python3", ASK, url, "--count", "300", "--rate", "50")
    web_lab.apply(EXTRA_POD.replace("WEB", str(ASK.with_name("web.py"))))
    extra = web_lab.address("default/web-extra", "4")
    assert web_lab.ask("client", f"http://{extra}:8080/")["body"]["pod"] == "web-extra"
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    out, err = load.communicate(timeout=60)
    got = json.loads(out)
    assert (got["statuses"], got["failed"], got["connections"]) == ({"200": 300}, 0, 1), (got, err)


FLIP = """
apiVersion: v1
kind: Service
metadata: {{ name: flip }}
spec:
  selector: {{ app: web }}
  ports: [{{ name: {name}, port: 80, targetPort: 8080 }}]
"""


def test_a_port_that_becomes_http_and_tcp_again_loses_no_connection(web_lab: Lab) -> None:
    """Between the fast path and Envoy and back, while somebody connects all the time."""
    web_lab.apply(FLIP.format(name="http"))
    try:
        url = "http://flip/"
        loads = [
            web_lab.start("client", "/usr/bin/python3", ASK, url, "--count", "3000", "--rate", "200", *fresh)
            for fresh in ([], ["--fresh"], ["--fresh"])
        ]
        changes = 0
        while all(load.poll() is None for load in loads):
            web_lab.apply(FLIP.format(name=("tcp", "http")[changes % 2]))
            changes += 1
        assert changes >= 3, "the load has seen both ways"
        for load in loads:
            out, err = load.communicate(timeout=60)
            got = json.loads(out)
            assert (got["statuses"], got["failed"]) == ({"200": 3000}, 0), (got, err)
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
