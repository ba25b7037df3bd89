from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tidegate.bpf.records import FlowGroup
from tidegate.model.tier import Tier
from tidegate.observe.dashboard.envoy_stats import EnvoyStats, Subject
from tidegate.observe.dashboard.figures import Scrape, figures, sample
from tidegate.observe.dashboard.history import History
from tidegate.relay.events import RelayStats
from tidegate.telemetry.pairs import PairTotals

WEB, RAW = "web.default.svc.cluster.local:80", "raw.default.svc.cluster.local:7000"
MARKUP = "<b>&\"'</b>"


def envoy(good: int, bad: int = 0) -> EnvoyStats:
    answers = {"downstream_rq_2xx": good, "downstream_rq_5xx": bad, "downstream_rq_total": good + bad}
    cluster = {"upstream_rq_2xx": good, "upstream_rq_total": good, "membership_healthy": 1, "membership_total": 2}
    return EnvoyStats(
        services={WEB: Subject(answers, {"p50": 1.0, "p95": 2.0, "p99": 3.0}), "idle:80": Subject({})},
        clusters={(WEB, "v1"): Subject(cluster), (WEB, "v2"): Subject({"upstream_rq_total": 0})},
        pods={(7, WEB): Subject(answers), (99, WEB): Subject(answers)},
        memory=1,
        uptime=2,
    )


READING = Scrape(
    at=0.0,
    verdicts={"redirect_envoy": 4, "redirect_fastpath": 6, "deny_state": 0, "sockops_record_failed": 1},
    fastpath=RelayStats(6, 1, 100, 900, 0, closed={"ok": 5}),
    live={
        FlowGroup(7, Tier.ENVOY, 1): 2,
        FlowGroup(7, Tier.ENVOY, 3): 1,  # another number of the same name: its second address
        FlowGroup(7, Tier.FASTPATH, 2): 1,
    },
    ended={(7, RAW): PairTotals(5, 1, 100, 900)},
    envoy=envoy(20),
    services={1: WEB, 2: RAW, 3: WEB},
    pods={7: "default/client"},
)
LATER = replace(
    READING,
    at=2.0,
    verdicts={**READING.verdicts, "redirect_envoy": 8},
    ended={(7, RAW): PairTotals(15, 1, 300, 2700)},
    fastpath=replace(READING.fastpath, bytes_to_client=2700, bytes_to_server=300),
    envoy=envoy(50, 2),
)


def shown(*readings: Scrape) -> dict[str, Any]:
    history = History()
    for reading in readings:
        history.add(sample(reading))
    value: dict[str, Any] = json.loads(json.dumps(figures(readings[-1], history)))
    return value


def test_totals_are_the_counters_and_rates_their_change() -> None:
    totals = shown(READING, LATER)["totals"]
    assert totals == {
        "live": 4,
        "connections": {"total": 14, "rate": 2.0},
        "requests": {"total": 52, "rate": 16.0},
        "errors": {"total": 2, "rate": 1.0},
        "bytes": {"total": 3000, "rate": 1000.0},
    }


def test_the_first_look_has_totals_and_no_rates() -> None:
    first = shown(READING)
    assert first["totals"]["requests"] == {"total": 20, "rate": None}
    assert {v["rate"] for v in first["verdicts"]} == {None}
    assert first["series"]["live"] == []


def test_traffic_joins_kernel_fast_path_and_envoy() -> None:
    fast, http = shown(READING, LATER)["traffic"][::-1]
    assert (http["pod"], http["service"], http["tier"], http["live"]) == ("default/client", WEB, "envoy", 3)
    assert http["requests"]["rate"] == 16.0
    assert http["requests"]["classes"] == {"2xx": {"total": 50, "rate": 15.0}, "5xx": {"total": 2, "rate": 1.0}}
    assert (fast["service"], fast["tier"], fast["live"]) == (RAW, "fastpath", 1)
    assert fast["ended"] == {"total": 15, "rate": 5.0, "failed": 1}
    assert fast["bytes"] == {"total": 3000, "rate": 1000.0, "to_server": 300, "to_client": 2700}


def test_a_connection_that_never_ended_yet_is_shown() -> None:
    rows = shown(replace(READING, ended={}, envoy=None))["traffic"]
    assert [(row["tier"], row["live"]) for row in rows] == [("fastpath", 1), ("envoy", 3)]


def test_pods_that_are_gone_are_left_out() -> None:
    assert {row["netns_cookie"] for row in shown(READING)["traffic"]} == {7}


def test_http_has_the_services_that_were_asked_and_the_clusters_that_answered() -> None:
    (web,) = shown(READING, LATER)["http"]
    assert (web["service"], web["total"], web["latency_ms"]["p99"]) == (WEB, 52, 3.0)
    (v1,) = web["clusters"]
    assert (v1["subset"], v1["total"], v1["rate"], v1["healthy"], v1["endpoints"]) == ("v1", 50, 15.0, 1, 2)


def test_without_envoy_its_figures_are_unknown_not_zero() -> None:
    value = shown(READING, replace(LATER, envoy=None))
    assert (value["http"], value["envoy"], value["totals"]["requests"]["rate"]) == (None, None, None)
    assert value["totals"]["connections"]["rate"] == 2.0


def test_refusals_are_marked() -> None:
    marked = {v["reason"]: v["trouble"] for v in shown(READING)["verdicts"]}
    assert marked == {
        "redirect_envoy": False,
        "redirect_fastpath": False,
        "deny_state": True,
        "sockops_record_failed": True,
    }


def test_names_are_passed_on_as_they_are() -> None:
    value = shown(replace(READING, pods={7: MARKUP}, services={1: MARKUP, 2: RAW, 3: MARKUP}))
    assert {row["pod"] for row in value["traffic"]} == {MARKUP}
