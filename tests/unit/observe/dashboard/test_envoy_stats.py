from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tidegate.observe.dashboard.envoy_stats import PATH, Subject, parse

WEB = "outbound|80||web.default.svc.cluster.local"
QUANTILES = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]


def page(*stats: tuple[str, Any], histograms: dict[str, list[float | None]] | None = None) -> str:
    """A page as Envoy writes it: counters, gauges and texts, at the end the histograms."""
    values: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in stats]
    computed = [
        {"name": name, "values": [{"interval": v, "cumulative": 7.5} for v in points]}
        for name, points in (histograms or {}).items()
    ]
    values.append({"histograms": {"supported_quantiles": QUANTILES, "computed_quantiles": computed}})
    return json.dumps({"stats": values})


def test_services_clusters_and_pods_are_told_apart() -> None:
    stats = parse(
        page(
            (f"http.{WEB}.downstream_rq_2xx", 5),
            (f"http.{WEB}.downstream_rq_5xx", 1),
            (f"listener.outbound|default/a.b|77.http.{WEB}.downstream_rq_2xx", 3),
            ("cluster.outbound|80|v1|web.default.svc.cluster.local@shop.upstream_rq_2xx", 4),
            ("server.memory_allocated", 1000),
            ("server.uptime", 9),
        )
    )
    assert stats.services["web.default.svc.cluster.local:80"].requests("downstream") == {"2xx": 5, "5xx": 1}
    assert stats.pods[77, "web.default.svc.cluster.local:80"].requests("downstream") == {"2xx": 3}
    assert stats.clusters["web.default.svc.cluster.local:80", "v1@shop"].requests("upstream") == {"2xx": 4}
    assert (stats.memory, stats.uptime) == (1000, 9)


def test_latency_is_that_of_the_last_interval_and_absent_without_requests() -> None:
    points: list[float | None] = [float(i) for i in range(10)]
    other = WEB.replace("web", "idle")
    stats = parse(
        page(
            (f"http.{WEB}.downstream_rq_total", 5),
            (f"http.{other}.downstream_rq_total", 5),
            histograms={f"http.{WEB}.downstream_rq_time": points, f"http.{other}.downstream_rq_time": [None] * 10},
        )
    )
    assert stats.services["web.default.svc.cluster.local:80"].latency == {"p50": 2.0, "p95": 5.0, "p99": 6.0}
    assert stats.services["idle.default.svc.cluster.local:80"] == Subject({"downstream_rq_total": 5})


def test_what_is_not_ours_is_left_out() -> None:
    stats = parse(
        page(
            ("cluster.PassthroughCluster.upstream_rq_2xx", 1),
            ("listener.admin.http.admin.downstream_rq_2xx", 1),
            (f"listener.127.0.0.1_80.http.{WEB}.downstream_rq_2xx", 1),
            ("cluster.outbound|80||web.default.svc.cluster.local.version_text", "a text"),
        )
    )
    assert (stats.services, stats.clusters, stats.pods) == ({}, {}, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stats": 1}', "no such page"])
def test_another_page_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|no stats page"):
        parse(text)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"http.{WEB}.downstream_rq_2xx", True),
        (f"http.{WEB}.downstream_rq_time", True),
        (f"listener.outbound|default/a|77.http.{WEB}.downstream_rq_4xx", True),
        ("cluster.outbound|80|v1|web.default.svc.cluster.local.upstream_rq_retry", True),
        ("cluster.outbound|80|v1|web.default.svc.cluster.local.membership_healthy", True),
        ("server.uptime", True),
        ("cluster.outbound|80||web.default.svc.cluster.local.circuit_breakers.default.remaining_cx", False),
        (f"http.{WEB}.downstream_rq_200", False),
        ("listener.admin.http.admin.downstream_rq_2xx", False),
        ("server.version", False),
    ],
)
def test_envoy_is_asked_for_what_is_read_and_no_more(name: str, wanted: bool) -> None:
    (pattern,) = parse_qs(urlsplit(PATH).query)["filter"]
    assert bool(re.search(pattern, name)) is wanted


def test_both_clusters_of_a_headless_service_are_counted() -> None:
    names = ("outbound|80||heads.default.svc", "outbound_chosen|80||heads.default.svc")
    page = {"stats": [{"name": f"cluster.{name}.upstream_rq_total", "value": 1} for name in names]}
    assert set(parse(json.dumps(page)).clusters) == {("heads.default.svc:80", ""), ("heads.default.svc:80", " chosen")}
