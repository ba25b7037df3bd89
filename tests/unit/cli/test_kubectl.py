"""`kubectl tidegate`: which agents are asked what, by which commands of kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.cli.kubectl import AGENTS, HOME, ask, read
from tidegate.errors import Rejected, Unreachable

DAEMONSET = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes" / "base" / "daemonset.yaml"


class Kubectl:
    """A cluster with agents on two nodes and a pod on the second."""

    def __init__(self) -> None:
        self.agents = {"node1": "tidegate-a", "node2": "tidegate-b"}
        self.exits = {"tidegate-a": 0, "tidegate-b": 0}
        self.error = ""
        self.asked: list[list[str]] = []
        self.shown: list[list[str]] = []

    def captured(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(list(words))
        told: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"nodeName": "node2"}}
        if "pods" in words:
            pods = [{"metadata": {"name": name}, "spec": {"nodeName": node}} for node, name in self.agents.items()]
            told = {"items": pods}
        return subprocess.CompletedProcess(words, int(bool(self.error)), json.dumps(told), self.error)

    def show(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.shown.append(list(words))
        (pod,) = [name for name in self.exits if name in words]
        return subprocess.CompletedProcess(words, self.exits[pod])

    def run(self, *argv: str) -> int:
        return ask(read(argv), self.captured, self.show)


def test_every_agent_is_asked_and_the_worst_exit_code_counts() -> None:
    cluster = Kubectl()
    cluster.exits["tidegate-a"] = 1
    assert cluster.run("status", "-o", "json") == 1
    tail = ["-c", "agent", "--", "/opt/tidegate/bin/tidegate", "status", "-o", "json"]
    assert cluster.shown == [["exec", "-n", HOME, name, *tail] for name in ("tidegate-a", "tidegate-b")]
    assert cluster.asked[0][:6] == ["get", "pods", "-n", HOME, "-l", AGENTS]


def test_a_node_that_is_named_is_asked_alone() -> None:
    cluster = Kubectl()
    assert cluster.run("--node", "node1", "services") == 0
    assert [words[3] for words in cluster.shown] == ["tidegate-a"]


@pytest.mark.parametrize(("flags", "pod", "means"), [((), "shop/web", "shop/web"), (("-n", "shop"), "web", "shop/web")])
def test_explain_is_asked_where_the_pod_runs(flags: tuple[str, ...], pod: str, means: str) -> None:
    cluster = Kubectl()
    assert cluster.run(*flags, "explain", pod, "reviews:9080") == 0
    assert cluster.asked[0] == ["get", "pod", "web", "-n", "shop", "-o", "json"]
    assert [words[3] for words in cluster.shown] == ["tidegate-b"]
    assert cluster.shown[0][-3:] == ["explain", means, "reviews:9080"]


def test_each_command_of_kubectl_gets_context_and_kubeconfig() -> None:
    cluster = Kubectl()
    cluster.run("--context", "far", "--kubeconfig", "/tmp/config", "pods")
    for words in (*cluster.asked, *cluster.shown):
        assert words[:2] == ["--context=far", "--kubeconfig=/tmp/config"]


def test_where_no_agent_runs_that_is_said() -> None:
    cluster = Kubectl()
    with pytest.raises(Rejected, match="node node9: has no agent that runs"):
        cluster.run("--node", "node9", "status")
    cluster.agents = {}
    with pytest.raises(Rejected, match=f"namespace {HOME}: has no agent that runs"):
        cluster.run("status")


def test_what_kubectl_cannot_do_is_told_in_its_words() -> None:
    cluster = Kubectl()
    cluster.error = "error: You must be logged in to the server\n"
    with pytest.raises(Unreachable, match="You must be logged in"):
        cluster.run("status")


def test_a_line_without_a_command_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(["--node", "node1"])
    assert ended.value.code == 2
    assert "which command?" in capsys.readouterr().err


def test_agents_are_where_and_what_the_manifest_says() -> None:
    made = yaml.safe_load(DAEMONSET.read_text())
    key, _, value = AGENTS.partition("=")
    assert made["spec"]["template"]["metadata"]["labels"][key] == value
    assert made["metadata"]["namespace"] == HOME
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["command"][0]) == ("agent", "/opt/tidegate/bin/tidegate")
