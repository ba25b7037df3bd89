"""Envoy's counters as the dashboard reads them: one page of its admin interface to typed sums. Pure.

Requests are counted by the listeners' own logger of statistics (compile/envoy/filters.py) under
tidegate.requests.pod.COOKIE.service.FQDN:PORT.code.CODE and tidegate.duration.service.FQDN:PORT;
cluster.outbound|PORT|SUBSET|FQDN is what endpoints answered. Bytes are those between Envoy and a service's endpoints.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tidegate.compile.envoy import private
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.envoy import statistics

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
PATH = "/stats?format=json&usedonly&filter=" + quote(f"^({'|'.join(statistics.DASHBOARD)})$")
_QUANTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99"}
_REQUESTS = re.compile(
    rf"{private.STATS}\.{private.REQUESTS}\.{private.POD}\.(\d+)\.{private.SERVICE}\.(.+)\.{private.CODE}\.(\d+)"
)
_OF_ENDPOINTS = {"upstream_rq_active", "upstream_cx_rx_bytes_total", "upstream_cx_tx_bytes_total"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Counters of one service, pod and service, or cluster, under the names that Envoy itself has for such; a service's
    upstream_* are the sums over its clusters."""

    counts: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)  # p50, p95, p99 in ms of Envoy's last 5 s; {} = none

    def requests(self, side: str) -> dict[str, int]:
        """Answers by class; side is downstream or upstream."""
        return {name: n for name in CLASSES if (n := self.counts.get(f"{side}_rq_{name}", 0))}


@dataclass(frozen=True, slots=True)
class EnvoyStats:
    services: Mapping[str, Subject]  # FQDN:port
    clusters: Mapping[tuple[str, str], Subject]  # (FQDN:port, ClusterKey.variant)
    pods: Mapping[tuple[int, str], Subject]  # (netns cookie of the client, FQDN:port)
    memory: int  # bytes
    uptime: int  # seconds


def parse(text: str) -> EnvoyStats:
    """Read the page at PATH. What is not ours is left out. Raises ValueError if it is no such page."""
    page = json.loads(text)
    if not isinstance(page, dict) or not isinstance(page.get("stats"), list):
        raise ValueError("no stats page of Envoy")
    values: dict[str, int] = {}
    latency: dict[str, dict[str, float]] = {}
    for stat in page["stats"]:
        if "histograms" in stat:
            latency = _latencies(stat["histograms"])
        elif isinstance(stat.get("value"), int):
            values[stat["name"]] = stat["value"]
    services: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    pods: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    clusters: dict[str, dict[str, int]] = defaultdict(dict)
    for name, value in values.items():
        if found := _REQUESTS.fullmatch(name):
            cookie, service, code = int(found[1]), found[2], int(found[3])
            # Without a code the client was gone before there was an answer.
            for count in ("downstream_rq_total", *((f"downstream_rq_{code // 100}xx",) if code else ())):
                services[service][count] += value
                pods[cookie, service][count] += value
        elif name.startswith("cluster."):
            cluster, _, count = name.removeprefix("cluster.").rpartition(".")
            clusters[cluster][count] = value
    by_key: dict[tuple[str, str], Subject] = {}
    for name, counts in clusters.items():
        key = ClusterKey.parse(name)
        if key is not None:
            service = f"{key.fqdn}:{key.port}"
            by_key[service, key.variant] = Subject(counts, latency.get(f"cluster.{name}.upstream_rq_time", {}))
            if service in services:
                for count in counts.keys() & _OF_ENDPOINTS:
                    services[service][count] += counts[count]
    durations = f"{private.STATS}.{private.DURATION}.{private.SERVICE}."
    return EnvoyStats(
        {name: Subject(dict(counts), latency.get(durations + name, {})) for name, counts in services.items()},
        by_key,
        {key: Subject(dict(counts)) for key, counts in pods.items()},
        values.get("server.memory_allocated", 0),
        values.get("server.uptime", 0),
    )


def _latencies(page: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    places = {i: _QUANTILES[q] for i, q in enumerate(page.get("supported_quantiles", ())) if q in _QUANTILES}
    out: dict[str, dict[str, float]] = {}
    for histogram in page.get("computed_quantiles", ()):
        found = {label: histogram["values"][i]["interval"] for i, label in places.items()}
        if all(value is not None for value in found.values()):
            out[histogram["name"]] = found
    return out
