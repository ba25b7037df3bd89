"""The dashboard of a node under traffic: its figures move, and agree with the metrics and with the commands."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import ROOT, Lab

SAMPLES = ROOT / "samples"
HTTP, TCP = "httpbin.default.svc.cluster.local:8000", "httpbin.default.svc.cluster.local:8001"
PAGE = 9000  # bytes of one answer


class Board:
    """The dashboard of node1 as a browser on this machine sees it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = lab.tidegate("lab", "dashboard").stdout.strip()

    def get(self, path: str = "", **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=HANG_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figures(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.get("figures")[1])
        return value

    def pair(self, service: str) -> dict[str, Any]:
        """The row of pod sleep and a service."""
        rows = [
            r for r in self.figures()["traffic"] if r["service"] == service and r["pod"].startswith("default/sleep")
        ]
        assert len(rows) == 1, rows
        row: dict[str, Any] = rows[0]
        return row


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    lab = Lab("board")
    try:
        files = ("bookinfo/namespace.yaml", "httpbin/httpbin.yaml", "sleep/sleep.yaml")
        lab.up(*(SAMPLES / name for name in files))
        yield Board(lab)
    finally:
        lab.down()


def curl(board: Board, url: str, *options: str) -> None:
    board.lab.exec("deploy/sleep", "curl", "-s", "--max-time", "20", "-o", "/dev/null", *options, url)


def test_the_page_is_there_and_asking_again_gives_the_same_address(board: Board) -> None:
    status, text = board.get()
    assert (status, "/dashboard/app.js" in text) == (200, True)
    assert board.lab.tidegate("lab", "dashboard", "node1").stdout.strip() == board.url
    assert "node9" in board.lab.tidegate("lab", "dashboard", "node9", check=False).stderr


def test_requests_are_counted_per_pod_service_and_class(board: Board) -> None:
    curl(board, "http://httpbin:8000/status/200?n=[1-40]")
    curl(board, "http://httpbin:8000/status/503?n=[1-7]")
    curl(board, "http://httpbin:8000/status/404?n=[1-3]")
    expected = {"2xx": 40, "4xx": 3, "5xx": 7}

    def classes() -> dict[str, int]:
        return {name: c["total"] for name, c in board.pair(HTTP)["requests"]["classes"].items()}

    eventually(lambda: classes() == expected, "each answer is counted for the pod")

    def service() -> dict[str, Any]:
        (http,) = (s for s in board.figures()["http"] or [{"service": HTTP, "classes": {}}] if s["service"] == HTTP)
        assert {name: c["total"] for name, c in http["classes"].items()} == expected
        return dict(http)

    assert eventually(service, "and for the service")["clusters"][0]["endpoints"] == 1


def test_connections_of_the_fast_path_agree_with_the_metrics(board: Board) -> None:
    curl(board, f"http://httpbin:8001/bytes/{PAGE}?n=[1-30]", "-H", "Connection: close")
    eventually(lambda: board.pair(TCP)["ended"]["total"] >= 30, "thirty connections ended")
    labels: dict[str, Any] = {"source_workload": "sleep", "destination_service": TCP.rpartition(":")[0]}

    def agree() -> bool:
        """The page may show what it was a second ago."""
        row = board.pair(TCP)
        assert row["ended"]["total"] == board.lab.metric("istio_tcp_connections_closed_total", **labels)
        assert row["bytes"]["to_client"] == board.lab.metric("istio_tcp_sent_bytes_total", **labels) > 30 * PAGE
        assert row["bytes"]["to_server"] == board.lab.metric("istio_tcp_received_bytes_total", **labels)
        closed = board.figures()["fastpath"]["closed"]
        assert closed["ok"] == board.lab.metric("tidegate_fastpath_closed_total", reason="ok")
        return True

    eventually(agree, "the page and the metrics agree", interval=0.5)


def test_figures_move_under_steady_traffic_and_verdicts_agree_with_the_metrics(board: Board) -> None:
    loads = [
        board.lab.load("deploy/sleep", url, "--rate", "20", "--fresh")
        for url in ("http://httpbin:8000/get", "http://httpbin:8001/get")
    ]

    def moving() -> bool:
        seen = board.figures()
        verdicts = {v["reason"]: v["rate"] for v in seen["verdicts"]}
        rates = [seen["totals"][name]["rate"] for name in ("connections", "requests", "bytes")]
        rates += [
            verdicts["redirect_envoy"],
            verdicts["redirect_fastpath"],
            *(rate for _, rate in seen["series"]["requests"][-1:]),
        ]
        rates += [board.pair(HTTP)["requests"]["rate"], board.pair(TCP)["ended"]["rate"]]
        return len(rates) == 8 and all(rate and rate > 0 for rate in rates)

    eventually(moving, "rates of connections, requests and bytes", interval=0.5)
    for load in loads:
        assert load.stop()["failed"] == 0
    eventually(lambda: board.figures()["totals"]["live"] == 0, "every flow is gone", interval=0.5)

    def agrees(reason: str) -> bool:
        """The page may show what it was a second ago."""
        shown = next(v["total"] for v in board.figures()["verdicts"] if v["reason"] == reason)
        return bool(shown == board.lab.metric("tidegate_verdicts_total", reason=reason))

    for reason in ("redirect_envoy", "redirect_fastpath"):
        eventually(partial(agrees, reason), f"the page and the metric agree on {reason}", interval=0.5)


def test_the_page_explains_as_the_command_does(board: Board) -> None:
    pod = next(name for name in board.lab.pods() if name.startswith("default/sleep"))
    page = json.loads(board.get(f"explain?pod={pod}&destination=httpbin:8000&method=GET&path=/&header.0.a=b")[1])
    command = board.lab.tidegate("explain", pod, "httpbin:8000", "--header", "a:b", "-o", "json").stdout
    assert page == json.loads(command)
    assert page["tier"] == "envoy"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:15000"])
def test_another_name_for_this_machine_is_refused(board: Board, host: str) -> None:
    assert board.get("figures", Host=host)[0] == 421
    assert board.get("figures", Host="localhost")[0] == 200


def test_envoy_and_agent_may_die_under_the_page(board: Board) -> None:
    before = board.figures()["status"]
    os.kill(before["envoy"]["pid"], signal.SIGKILL)
    eventually(lambda: board.figures()["status"]["envoy"]["restarts"] == 1, "the restart is told")
    eventually(lambda: board.figures()["http"] is not None, "Envoy's figures are back")
    os.kill(before["agent"]["pid"], signal.SIGKILL)

    def back() -> bool:
        try:
            return bool(board.figures()["status"]["agent"]["starts"] == before["agent"]["starts"] + 1)
        except OSError as error:
            raise AssertionError("no agent yet") from error

    eventually(back, "the same address shows the next agent")


def test_a_lab_without_the_mesh_has_no_dashboard() -> None:
    plain = Lab("boardless")
    try:
        plain.up(mesh=False)
        refused = plain.tidegate("lab", "dashboard", check=False)
        assert (refused.returncode, "--mesh off" in refused.stderr) == (1, True)
    finally:
        plain.down()
