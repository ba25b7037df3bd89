"""Limits of a cluster and what it makes of endpoints that fail. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.compile.envoy.protojson import Json, duration
from tidegate.model.mesh_config import Compat
from tidegate.model.traffic import ConnectionPool, Outlier, RetryBudget

_UNLIMITED = 2**32 - 1
_OLD_LIMIT = 1024  # of requests, waiting and under way, by the API of Istio 1.0


def breakers(pool: ConnectionPool, budget: RetryBudget | None, compat: Compat) -> Json:
    """envoy.config.cluster.v3.CircuitBreakers."""
    requests = _OLD_LIMIT if compat is Compat.V1ALPHA3 else _UNLIMITED
    threshold: Json = {
        "max_connections": pool.max_connections or _UNLIMITED,
        "max_pending_requests": pool.max_pending or requests,
        "max_requests": pool.max_requests or requests,
        "max_retries": pool.max_retries or _UNLIMITED,
        "track_remaining": True,
    }
    if budget is not None:
        threshold["retry_budget"] = {
            "budget_percent": {"value": budget.percent},
            "min_retry_concurrency": budget.at_least,
        }
    return {"thresholds": [threshold]}


def keepalive(pool: ConnectionPool) -> Mapping[str, int]:
    """envoy.config.core.v3.TcpKeepalive; empty for the system's own."""
    out = {
        "keepalive_probes": pool.keepalive_probes,
        "keepalive_time": pool.keepalive_time_ms // 1000,
        "keepalive_interval": pool.keepalive_interval_ms // 1000,
    }
    return {key: value for key, value in out.items() if value}


def outlier_detection(outlier: Outlier, compat: Compat) -> Json:
    """envoy.config.cluster.v3.OutlierDetection."""
    out: Json = {"enforcing_success_rate": 0}
    if compat is Compat.V1ALPHA3:
        out["always_eject_one_host"] = True  # as Envoy did then, however few there are
    counted = [
        ("consecutive_5xx", outlier.consecutive_5xx),
        ("consecutive_gateway_failure", outlier.consecutive_gateway),
    ]
    if outlier.split_local:
        out.update(split_external_local_origin_errors=True, enforcing_local_origin_success_rate=0)
        counted.append(("consecutive_local_origin_failure", outlier.consecutive_local or None))
    for key, value in counted:
        if value is not None:
            out[f"enforcing_{key}"] = 100 if value else 0
            if value:
                out[key] = value
    if outlier.interval_ms:
        out["interval"] = duration(outlier.interval_ms)
    if outlier.base_ejection_ms:
        out["base_ejection_time"] = duration(outlier.base_ejection_ms)
        # Envoy's own ceiling is 300 s; a longer base needs a ceiling at least as high.
        out["max_ejection_time"] = duration(max(outlier.base_ejection_ms, 300_000))
    if outlier.max_ejection_percent:
        out["max_ejection_percent"] = outlier.max_ejection_percent
    return out
