"""DestinationRule: what reaches the model, and how policies combine."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, destination_rule

from tidegate.model.traffic import Balancing, DestinationRule, LoadBalancer


def rule(spec: str) -> DestinationRule:
    (found,) = config_of(destination_rule("d", "reviews", spec)).destination_rules
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("UNSPECIFIED", Balancing.LEAST_REQUEST),
        ("LEAST_CONN", Balancing.LEAST_REQUEST),
        ("ROUND_ROBIN", Balancing.ROUND_ROBIN),
        ("RANDOM", Balancing.RANDOM),
        ("PASSTHROUGH", Balancing.PASSTHROUGH),
    ],
)
def test_simple_load_balancers(written: str, meant: Balancing) -> None:
    assert rule(f"trafficPolicy: {{loadBalancer: {{simple: {written}}}}}").policy.load_balancer == LoadBalancer(meant)


def test_a_port_entry_replaces_the_whole_policy() -> None:
    policy = rule(
        """
        trafficPolicy:
          loadBalancer: {simple: RANDOM}
          connectionPool: {tcp: {maxConnections: 5}}
          portLevelSettings:
          - port: {number: 80}
            connectionPool: {tcp: {maxConnections: 7}}
        """
    ).policy
    at_80, at_81 = policy.for_port(80), policy.for_port(81)
    assert at_80.load_balancer is None, "what the port leaves out goes back to defaults"
    assert at_80.connection_pool is not None
    assert at_80.connection_pool.max_connections == 7
    assert at_81.load_balancer == LoadBalancer(Balancing.RANDOM)


def test_a_subset_overlays_block_by_block() -> None:
    found = rule(
        """
        trafficPolicy:
          loadBalancer: {simple: RANDOM}
          connectionPool: {tcp: {maxConnections: 5, connectTimeout: 30ms}}
        subsets:
        - name: v1
          labels: {version: v1}
          trafficPolicy:
            connectionPool: {http: {maxRetries: 2}}
        """
    )
    subset = found.subset("v1")
    assert subset is not None
    both = found.policy.for_port(80).overlaid(subset.policy, 80)
    assert both.load_balancer == LoadBalancer(Balancing.RANDOM)
    assert both.connection_pool is not None
    assert (both.connection_pool.max_retries, both.connection_pool.max_connections) == (2, 0)


def test_consistent_hash() -> None:
    balancer = rule(
        "trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}, minimumRingSize: 64}}}"
    ).policy.load_balancer
    assert balancer is not None
    assert balancer.hash is not None
    assert (balancer.hash.cookie, balancer.hash.cookie_ttl_ms, balancer.hash.ring_size) == ("user", 0, 64)


def test_outlier_detection() -> None:
    outlier = rule(
        "trafficPolicy: {outlierDetection: {consecutiveErrors: 7, interval: 5m, baseEjectionTime: 15m}}"
    ).policy.outlier
    assert outlier is not None
    assert (outlier.consecutive_5xx, outlier.interval_ms, outlier.base_ejection_ms) == (7, 300_000, 900_000)
