"""Configuration changes while requests flow: in force, no request lost, bad input changes nothing."""

from __future__ import annotations

import os
import signal

import pytest
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.files import replace
from tests.support.lab import ASK, PATIENTLY, Lab

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
def test_each_change_comes_into_force_and_no_request_fails(web_lab: Lab, mode: str) -> None:
    """How soon says `make bench` (change.*)."""
    web_lab.apply(RULE.format(subset="v1"))
    load = web_lab.load("client", "http://web/", "--rate", "200", *(["--fresh"] if mode == "fresh" else []))
    for subset in ("v1", "v2", "v1", "v2", "v1"):
        web_lab.apply(RULE.format(subset=subset))
        load.sees(subset)
    got = load.stop()
    assert (got["failed"], set(got["statuses"])) == (0, {"200"}), got["failures"]
    assert got["told"] == ["v1", "v2", "v1", "v2", "v1"], "old rules do not come back"
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_apply_returns_when_the_change_is_in_force(web_lab: Lab) -> None:
    """Whoever asks after `lab apply` gets the new rule, however busy the agent was meanwhile, or Envoy."""
    for subset, slow in (("v2", "agent"), ("v1", "envoy"), ("v2", "envoy"), ("v1", "agent")):
        pid = web_lab.status()[slow]["pid"]
        path = web_lab.run_dir / "applied-by-test.yaml"
        path.write_text(RULE.format(subset=subset))
        os.kill(pid, signal.SIGSTOP)
        try:
            early = web_lab.tidegate("lab", "apply", "-f", path, "--timeout", "2", check=False)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert early.returncode, f"the {slow} does nothing, so nothing is in force"
        web_lab.tidegate("lab", "apply", "-f", path, *PATIENTLY)
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
    replace(copy, good.replace("route:", "rout:"))
    problem = eventually(lambda: web_lab.status()["config"]["problems"], "the problem shows in status")[0]
    assert (problem["kind"], problem["name"], problem["line"]) == ("VirtualService", "web", 8)
    assert web_lab.ask("client", "http://web/", "--count", "50")["versions"] == {"v1": 50}
    before = web_lab.status()["agent"]["pid"]
    kill(before)
    agent = eventually(lambda: (a := web_lab.status()["agent"])["pid"] != before and a, "the next agent is there")
    assert agent["previous"] == "killed"
    eventually(lambda: web_lab.status()["config"]["problems"], "it reports the problem too")
    assert web_lab.ask("client", "http://web/", "--count", "50")["versions"] == {"v1": 50}
    replace(copy, good)
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
    load = web_lab.load("client", url, "--rate", "50")
    load.sees("v1")
    web_lab.apply(EXTRA_POD.replace("WEB", str(ASK.with_name("web.py"))))
    extra = web_lab.address("default/web-extra", "4")
    assert web_lab.ask("client", f"http://{extra}:8080/")["body"]["pod"] == "web-extra"
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    got = load.stop()
    assert (set(got["statuses"]), got["failed"], got["connections"]) == ({"200"}, 0, 1), got


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
        loads = [web_lab.load("client", url, "--rate", "200", *fresh) for fresh in ([], ["--fresh"], ["--fresh"])]
        for load in loads:
            load.starts()
        for name in ("tcp", "http") * 10:
            web_lab.apply(FLIP.format(name=name))
        for load in loads:
            got = load.stop()
            assert (set(got["statuses"]), got["failed"]) == ({"200"}, 0), got
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
