"""What a DestinationRule and a Service ask of connections, in the words of the relay. Pure."""

from __future__ import annotations

from math import ceil

from tidegate.model.kube import Service
from tidegate.model.mesh_config import Compat, MeshConfig
from tidegate.model.plan.relay import L4Outlier, L4Settings, LoadBalancing
from tidegate.model.traffic import (
    USUAL_EJECTION_PERCENT,
    Balancing,
    ConnectionPool,
    LoadBalancer,
    Outlier,
    TrafficPolicy,
)

_MOST_MS = 2**32 - 1
# tcp(7) leaves them out: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and MAX_TCP_KEEPCNT of include/net/tcp.h.
_MOST_SECONDS, _MOST_PROBES = 32767, 127
# Envoy's own where nothing is said.
_FAILURES, _INTERVAL_MS, _EJECTION_MS = 5, 10_000, 30_000
_DEFAULTS = L4Settings()
_BALANCING = {
    Balancing.ROUND_ROBIN: LoadBalancing.ROUND_ROBIN,
    Balancing.RANDOM: LoadBalancing.RANDOM,
}


def l4_balancing(chosen: LoadBalancer | None) -> LoadBalancing:
    """How the relay chooses an endpoint."""
    if chosen is None:
        return LoadBalancing.LEAST_REQUEST
    if chosen.hash is not None and chosen.hash.source_ip:
        return LoadBalancing.SOURCE
    return _BALANCING.get(chosen.balancing, LoadBalancing.LEAST_REQUEST)


def l4_settings(
    policy: TrafficPolicy, service: Service, mesh: MeshConfig, endpoints: int, *, chosen: bool = True
) -> L4Settings:
    """What the relay does of a policy; config/kinds/effect.py warns of the rest. Without a word about it connections
    may be idle as long as they like, as without a mesh. endpoints: how many there are; chosen: whether there are any to
    choose from; the one that a client dialled is left out for nobody."""
    connect_timeout_ms = mesh.connect_timeout_ms
    if policy.connection_pool is None and policy.outlier is None and not (service.affinity_s or connect_timeout_ms):
        return _DEFAULTS  # one for thousands of services
    pool = policy.connection_pool or ConnectionPool()
    return L4Settings(
        affinity_s=service.affinity_s if policy.load_balancer is None and chosen else 0,
        connect_timeout_ms=min(pool.connect_timeout_ms or connect_timeout_ms, _MOST_MS),
        max_connections=pool.max_connections,
        keepalive_time_s=_seconds(pool.keepalive_time_ms),
        keepalive_interval_s=_seconds(pool.keepalive_interval_ms),
        keepalive_probes=min(pool.keepalive_probes, _MOST_PROBES),
        idle_ms=min(pool.tcp_idle_ms or 0, _MOST_MS),
        duration_ms=min(pool.max_connection_ms, _MOST_MS),
        outlier=_outlier(policy.outlier, mesh.compat, endpoints) if policy.outlier and chosen else None,
    )


def _outlier(rule: Outlier, compat: Compat, endpoints: int) -> L4Outlier | None:
    """A connection that cannot be made counts as one of both sorts of errors, so the lower limit is met first; where
    what happens here is told apart from what a server says, it counts as that only."""
    limits = (_FAILURES if rule.consecutive_5xx is None else rule.consecutive_5xx, rule.consecutive_gateway)
    failures = min((limit for limit in limits if limit), default=0)
    if rule.split_local:
        failures = rule.consecutive_local or _FAILURES
    if not failures:
        return None
    most = rule.max_ejection_percent or USUAL_EJECTION_PERCENT
    if compat is Compat.V1ALPHA3 and endpoints:
        most = max(most, ceil(100 / endpoints))  # one, however few there are (pools.outlier_detection)
    return L4Outlier(
        failures=failures,
        base_ms=min(rule.base_ejection_ms or _EJECTION_MS, _MOST_MS),
        interval_ms=min(rule.interval_ms or _INTERVAL_MS, _MOST_MS),
        most_percent=most,
        panic_percent=rule.min_health_percent,
    )


def _seconds(ms: int) -> int:
    return min((ms + 999) // 1000, _MOST_SECONDS)  # up: 0 would mean the system's own
