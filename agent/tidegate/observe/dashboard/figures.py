"""The shape of /figures: what one look at the data plane becomes in JSON. Pure.

Keys are stable; counters are totals since their owner started (kernel maps, fast path, Envoy), `rate` is per second
over `window` seconds and null while unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.bpf.records import FlowGroup
from tidegate.model.tier import Tier
from tidegate.observe.dashboard.envoy_stats import CLASSES, EnvoyStats, Subject
from tidegate.observe.dashboard.history import History, Key, Sample
from tidegate.relay.events import RelayStats
from tidegate.telemetry.pairs import PairKey, PairTotals

_TROUBLE = ("deny", "failed", "no_record", "no_listener", "unrecorded")
_SERIES = ("live", "connections", "requests", "errors", "bytes")


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at everything that counts."""

    at: float  # monotonic seconds
    verdicts: Mapping[str, int]
    fastpath: RelayStats
    live: Mapping[FlowGroup, int]
    ended: Mapping[PairKey, PairTotals]
    envoy: EnvoyStats | None  # None: it did not answer
    services: Mapping[int, str]  # number -> FQDN:port
    pods: Mapping[int, str]  # netns cookie -> NAMESPACE/NAME


def sample(reading: Scrape) -> Sample:
    """The counters of a reading under the keys that figures() asks for."""
    counters: dict[Key, float] = {("verdict", reason): n for reason, n in reading.verdicts.items()}
    stats = reading.fastpath
    counters["fastpath", "accepted"] = stats.accepted
    counters["fastpath", "bytes_to_server"] = stats.bytes_to_server
    counters["fastpath", "bytes_to_client"] = stats.bytes_to_client
    counters["fastpath", "bytes"] = stats.bytes_to_server + stats.bytes_to_client
    counters["verdict", "redirects"] = sum(reading.verdicts.get(f"redirect_{t}", 0) for t in ("fastpath", "envoy"))
    for (cookie, service), totals in reading.ended.items():
        key = ("pair", str(cookie), service)
        counters[*key, "ended"] = totals.ended
        counters[*key, "bytes"] = totals.bytes_to_server + totals.bytes_to_client
    sources = {"verdict", "fastpath", "pair"}
    if reading.envoy is not None:
        sources.add("envoy")
        counters.update(_envoy_counters(reading.envoy))
    charted: dict[str, Key | float] = {
        "live": float(sum(reading.live.values())),
        "connections": ("verdict", "redirects"),
        "requests": ("envoy", "requests"),
        "errors": ("envoy", "errors"),
        "bytes": ("fastpath", "bytes"),
    }
    charted.update({f"verdict.{reason}": ("verdict", reason) for reason in reading.verdicts})
    return Sample(reading.at, frozenset(sources), counters, charted)


def _envoy_counters(envoy: EnvoyStats) -> dict[Key, float]:
    out: dict[Key, float] = {("envoy", "requests"): 0, ("envoy", "errors"): 0}
    for service, subject in envoy.services.items():
        answers = subject.requests("downstream")
        out["envoy", "requests"] += sum(answers.values())
        out["envoy", "errors"] += answers.get("5xx", 0)
        out.update(_answers(("envoy", "service", service), answers))
        out["envoy", "service", service, "bytes"] = _bytes(subject)
    for (service, subset), subject in envoy.clusters.items():
        out.update(_answers(("envoy", "cluster", service, subset), subject.requests("upstream")))
    for (cookie, service), subject in envoy.pods.items():
        out.update(_answers(("envoy", "pod", str(cookie), service), subject.requests("downstream")))
    return out


def _answers(key: Key, answers: Mapping[str, int]) -> dict[Key, float]:
    return {(*key, "all"): sum(answers.values()), **{(*key, name): n for name, n in answers.items()}}


def _bytes(subject: Subject) -> int:
    return subject.counts.get("upstream_cx_rx_bytes_total", 0) + subject.counts.get("upstream_cx_tx_bytes_total", 0)


def figures(reading: Scrape, history: History) -> dict[str, Any]:
    """The part of /figures that comes from counters. history has this reading's sample already."""
    stats = reading.fastpath
    rate = history.rate
    return {
        "window": round(history.window, 1),
        "series": {name: history.series(name) for name in _SERIES},
        "totals": {
            "live": sum(reading.live.values()),
            "connections": _counted(history, ("verdict", "redirects"), _sum_redirects(reading.verdicts)),
            "requests": _counted(history, ("envoy", "requests"), _all(reading.envoy, CLASSES)),
            "errors": _counted(history, ("envoy", "errors"), _all(reading.envoy, ("5xx",))),
            "bytes": _counted(history, ("fastpath", "bytes"), stats.bytes_to_server + stats.bytes_to_client),
        },
        "verdicts": [
            {
                "reason": reason,
                "trouble": any(word in reason for word in _TROUBLE),
                **_counted(history, ("verdict", reason), total),
                "series": history.series(f"verdict.{reason}"),
            }
            for reason, total in reading.verdicts.items()
        ],
        "fastpath": {
            "accepted": stats.accepted,
            "active": stats.active,
            "bytes_to_server": stats.bytes_to_server,
            "bytes_to_client": stats.bytes_to_client,
            "events_lost": stats.events_lost,
            "closed": dict(stats.closed),
            "rates": {
                name: _round(rate(("fastpath", name))) for name in ("accepted", "bytes_to_server", "bytes_to_client")
            },
        },
        "traffic": _traffic(reading, history),
        "http": _http(reading.envoy, history) if reading.envoy is not None else None,
        "envoy": {"memory_bytes": reading.envoy.memory, "uptime_seconds": reading.envoy.uptime}
        if reading.envoy is not None
        else None,
    }


def _traffic(reading: Scrape, history: History) -> list[dict[str, Any]]:
    """Client pod and service, busiest first. A pair is there as long as something of it lives or was counted."""
    envoy_pods = reading.envoy.pods if reading.envoy is not None else {}
    live: dict[tuple[int, str, Tier], int] = {}
    for group, count in reading.live.items():
        key = (group.netns_cookie, reading.services.get(group.service, ""), group.tier)
        live[key] = live.get(key, 0) + count
    rows = dict.fromkeys(live)
    rows.update(dict.fromkeys((cookie, service, Tier.FASTPATH) for cookie, service in reading.ended))
    rows.update(dict.fromkeys((cookie, service, Tier.ENVOY) for cookie, service in envoy_pods))
    out = []
    for cookie, service, tier in rows:
        if cookie not in reading.pods:
            continue  # of a sandbox that is gone
        row: dict[str, Any] = {
            "pod": reading.pods[cookie],
            "netns_cookie": cookie,
            "service": service,
            "tier": tier.name.lower(),
            "live": live.get((cookie, service, tier), 0),
        }
        if tier is Tier.ENVOY:
            subject = envoy_pods.get((cookie, service), Subject())
            row["requests"] = _classes(history, ("envoy", "pod", str(cookie), service), subject.requests("downstream"))
        else:
            totals = reading.ended.get((cookie, service), PairTotals())
            pair = ("pair", str(cookie), service)
            row["ended"] = {**_counted(history, (*pair, "ended"), totals.ended), "failed": totals.failed}
            row["bytes"] = {
                **_counted(history, (*pair, "bytes"), totals.bytes_to_server + totals.bytes_to_client),
                "to_server": totals.bytes_to_server,
                "to_client": totals.bytes_to_client,
            }
        out.append(row)
    return sorted(out, key=lambda row: (-_busy(row), row["pod"], row["service"]))


def _busy(row: Mapping[str, Any]) -> float:
    """Whole events per second: neighbours do not change places for a fraction."""
    return round((row.get("requests") or row["ended"])["rate"] or 0)


def _http(envoy: EnvoyStats, history: History) -> list[dict[str, Any]]:
    """Per service what its clients got, with the clusters that served them; services that nobody asked are left out."""
    out = []
    for service, subject in sorted(envoy.services.items()):
        answers = subject.requests("downstream")
        if not answers and not subject.counts.get("downstream_rq_total"):
            continue
        key = ("envoy", "service", service)
        clusters = [
            _cluster(history, service, subset, cluster)
            for (host, subset), cluster in sorted(envoy.clusters.items())
            if host == service and cluster.counts.get("upstream_rq_total")
        ]
        out.append(
            {
                "service": service,
                **_classes(history, key, answers),
                "active": subject.counts.get("upstream_rq_active", 0),
                "bytes": _counted(history, (*key, "bytes"), _bytes(subject)),
                "latency_ms": dict(subject.latency),
                "clusters": clusters,
            }
        )
    return out


def _cluster(history: History, service: str, subset: str, subject: Subject) -> dict[str, Any]:
    counts = subject.counts
    return {
        "subset": subset,
        **_classes(history, ("envoy", "cluster", service, subset), subject.requests("upstream")),
        "active": counts.get("upstream_rq_active", 0),
        "retries": counts.get("upstream_rq_retry", 0),
        "timeouts": counts.get("upstream_rq_timeout", 0),
        "healthy": counts.get("membership_healthy", 0),
        "endpoints": counts.get("membership_total", 0),
        "latency_ms": dict(subject.latency),
    }


def _classes(history: History, key: Key, answers: Mapping[str, int]) -> dict[str, Any]:
    return {
        **_counted(history, (*key, "all"), sum(answers.values())),
        "classes": {name: _counted(history, (*key, name), n) for name, n in answers.items()},
    }


def _counted(history: History, key: Key, total: int) -> dict[str, Any]:
    return {"total": total, "rate": _round(history.rate(key))}


def _sum_redirects(verdicts: Mapping[str, int]) -> int:
    return verdicts.get("redirect_fastpath", 0) + verdicts.get("redirect_envoy", 0)


def _all(envoy: EnvoyStats | None, names: Sequence[str]) -> int:
    if envoy is None:
        return 0
    return sum(subject.requests("downstream").get(name, 0) for subject in envoy.services.values() for name in names)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
