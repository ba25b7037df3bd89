from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tidegate.envoy import statistics
from tidegate.observe.dashboard.envoy_stats import PATH, parse

FQDN = "web.default.svc.cluster.local"
WEB = f"{FQDN}:80"
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
            (f"tidegate.requests.pod.77.service.{WEB}.code.200", 3),
            (f"tidegate.requests.pod.78.service.{WEB}.code.204", 2),
            (f"tidegate.requests.pod.78.service.{WEB}.code.503", 1),
            (f"tidegate.requests.pod.78.service.{WEB}.code.0", 1),
            (f"cluster.outbound|80||{FQDN}.upstream_cx_rx_bytes_total", 90),
            (f"cluster.outbound|80|v1@shop|{FQDN}.upstream_cx_rx_bytes_total", 10),
            (f"cluster.outbound|80||{FQDN}.upstream_cx_tx_bytes_total", 200),
            (f"cluster.outbound|80|v1@shop|{FQDN}.upstream_rq_2xx", 4),
            (f"cluster.outbound|80|v1@shop|{FQDN}.upstream_rq_active", 2),
            (f"cluster.outbound|80||{FQDN}.upstream_rq_active", 1),
            ("server.memory_allocated", 1000),
            ("server.uptime", 9),
        )
    )
    assert stats.services[WEB].requests("downstream") == {"2xx": 5, "5xx": 1}
    assert stats.services[WEB].counts == {
        "downstream_rq_total": 7,
        "downstream_rq_2xx": 5,
        "downstream_rq_5xx": 1,
        "upstream_cx_rx_bytes_total": 100,
        "upstream_cx_tx_bytes_total": 200,
        "upstream_rq_active": 3,
    }
    assert stats.pods[77, WEB].requests("downstream") == {"2xx": 3}
    assert stats.pods[78, WEB].requests("downstream") == {"2xx": 2, "5xx": 1}
    assert stats.clusters[WEB, "v1@shop"].requests("upstream") == {"2xx": 4}
    assert (stats.memory, stats.uptime) == (1000, 9)


def test_latency_is_that_of_the_last_interval_and_absent_without_requests() -> None:
    points: list[float | None] = [float(i) for i in range(10)]
    idle = "idle.default.svc.cluster.local:80"
    stats = parse(
        page(
            (f"tidegate.requests.pod.1.service.{WEB}.code.200", 5),
            (f"tidegate.requests.pod.1.service.{idle}.code.200", 5),
            (f"cluster.outbound|80||{FQDN}.upstream_rq_total", 5),
            histograms={
                f"tidegate.duration.service.{WEB}": points,
                f"tidegate.duration.service.{idle}": [None] * 10,
                f"cluster.outbound|80||{FQDN}.upstream_rq_time": points,
            },
        )
    )
    assert stats.services[WEB].latency == {"p50": 2.0, "p95": 5.0, "p99": 6.0}
    assert stats.clusters[WEB, ""].latency == {"p50": 2.0, "p95": 5.0, "p99": 6.0}
    assert stats.services[idle].latency == {}


def test_what_is_not_ours_is_left_out() -> None:
    stats = parse(
        page(
            ("cluster.tidegate-xds.upstream_rq_2xx", 1),
            ("listener.admin.http.admin.downstream_rq_2xx", 1),
            ("tidegate.requests.pod.77.service..code.404", 1),
            (f"cluster.outbound|80||{FQDN}.version_text", "a text"),
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
        (f"tidegate.requests.pod.7.service.{WEB}.code.200", True),
        (f"tidegate.duration.service.{WEB}", True),
        (f"cluster.outbound|80|v1|{FQDN}.upstream_rq_retry", True),
        (f"cluster.outbound|80|v1|{FQDN}.membership_healthy", True),
        (f"cluster.outbound|80|v1|{FQDN}.upstream_cx_tx_bytes_total", True),
        ("server.uptime", True),
        (f"cluster.outbound|80||{FQDN}.circuit_breakers.default.remaining_cx", False),
        (f"cluster.outbound|80||{FQDN}.upstream_rq_200", False),
        ("http.outbound.downstream_rq_2xx", False),
        ("listener.outbound|default/a|77.downstream_cx_active", False),
        ("server.version", False),
    ],
)
def test_envoy_is_asked_for_what_is_read_and_no_more(name: str, wanted: bool) -> None:
    (pattern,) = parse_qs(urlsplit(PATH).query)["filter"]
    assert bool(re.search(pattern, name)) is wanted


def test_both_clusters_of_a_headless_service_are_counted() -> None:
    names = ("outbound|80||heads.default.svc", "outbound|80|+lb|heads.default.svc")
    page = {"stats": [{"name": f"cluster.{name}.upstream_rq_total", "value": 1} for name in names]}
    assert set(parse(json.dumps(page)).clusters) == {("heads.default.svc:80", ""), ("heads.default.svc:80", "+lb")}


def test_envoy_keeps_what_is_read() -> None:
    for read in (*statistics.DASHBOARD, statistics.CONNECTIONS):
        assert read in statistics.READ
