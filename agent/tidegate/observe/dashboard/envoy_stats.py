"""Envoy's counters as the dashboard reads them: one page of its admin interface to typed sums. Pure.

Names: http.outbound|PORT||FQDN (what clients of a service saw), listener.LISTENER.http.outbound|PORT||FQDN (the same of
one pod) and cluster.outbound|PORT|SUBSET|FQDN (what endpoints answered).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_WANTED = (
    r"^(http\.outbound|cluster\.outbound|listener\.outbound).*\."
    r"((down|up)stream_rq_([1-5]xx|total|active|time|timeout|retry)|downstream_cx_([rt]x_bytes_total)"
    r"|membership_(healthy|total))$|^server\.(memory_allocated|uptime)$"
)
PATH = "/stats?format=json&usedonly&filter=" + quote(_WANTED)
_QUANTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Counters of one service, pod listener or cluster, by the last part of Envoy's name."""

    counts: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)  # p50, p95, p99 in ms of Envoy's last 5 s; {} = none

    def requests(self, side: str) -> dict[str, int]:
        """Answers by class; side is downstream or upstream."""
        return {name: n for name in CLASSES if (n := self.counts.get(f"{side}_rq_{name}", 0))}


@dataclass(frozen=True, slots=True)
class EnvoyStats:
    services: Mapping[str, Subject]  # FQDN:port
    clusters: Mapping[tuple[str, str], Subject]  # (FQDN:port, subset and client namespace as in Envoy's name)
    pods: Mapping[tuple[int, str], Subject]  # (netns cookie of the client, FQDN:port)
    memory: int  # bytes
    uptime: int  # seconds


def parse(text: str) -> EnvoyStats:
    """Read the page at PATH. What is not ours is left out. Raises ValueError if it is no such page."""
    page = json.loads(text)
    if not isinstance(page, dict) or not isinstance(page.get("stats"), list):
        raise ValueError("no stats page of Envoy")
    counts: dict[str, dict[str, int]] = {}
    latency: dict[str, dict[str, float]] = {}
    for stat in page["stats"]:
        if "histograms" in stat:
            latency = _latencies(stat["histograms"])
        elif isinstance(stat.get("value"), int):
            subject, _, name = stat["name"].rpartition(".")
            counts.setdefault(subject, {})[name] = stat["value"]
    services: dict[str, Subject] = {}
    clusters: dict[tuple[str, str], Subject] = {}
    pods: dict[tuple[int, str], Subject] = {}
    for name, values in counts.items():
        subject = Subject(values, latency.get(name, {}))
        kind, _, rest = name.partition(".")
        if kind == "http":
            services[_service(rest)[0]] = subject
        elif kind == "cluster" and rest.count("|") == 3:
            clusters[_service(rest)] = subject
        elif kind == "listener":
            listener, _, service = rest.partition(".http.")
            cookie = listener.rpartition("|")[2]
            if service and cookie.isdecimal():
                pods[int(cookie), _service(service)[0]] = subject
    server = counts.get("server", {})
    return EnvoyStats(services, clusters, pods, server.get("memory_allocated", 0), server.get("uptime", 0))


def _service(name: str) -> tuple[str, str]:
    """outbound[_chosen]|PORT|SUBSET|FQDN[@NAMESPACE] -> (FQDN:PORT, SUBSET[ chosen][@NAMESPACE])."""
    head, port, subset, host = name.split("|", 3)
    host, at, scope = host.partition("@")
    return f"{host}:{port}", subset + head.removeprefix("outbound").replace("_", " ") + at + scope


def _latencies(page: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    places = {i: _QUANTILES[q] for i, q in enumerate(page.get("supported_quantiles", ())) if q in _QUANTILES}
    out: dict[str, dict[str, float]] = {}
    for histogram in page.get("computed_quantiles", ()):
        found = {label: histogram["values"][i]["interval"] for i, label in places.items()}
        if all(value is not None for value in found.values()):
            out[histogram["name"].rpartition(".")[0]] = found
    return out
