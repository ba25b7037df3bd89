"""What `compat` of ConfigMap istio-system/istio decides: decision 23 has the table."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import config_of, destination_rule, pod, service, virtual_service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import ClusterKey, cluster
from tidegate.compile.facts import join
from tidegate.compile.outbound.routes import RouteCompiler
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules

OLD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  tidegate: |
    compat: v1alpha3-1.0
"""
WEB = service("web", "http:80", ips="10.96.0.1")
TO_WEB = "- {{{}, route: [{{destination: {{host: web}}}}]}}"
TODAY = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
ONCE = "5xx,connect-failure,refused-stream"


def compiler(*texts: str) -> tuple[Registry, Rules]:
    read = Read(join(config_of(WEB, *texts), ()).tables)
    return Registry(read), Rules(read)


def route(said: str, *texts: str) -> dict[str, Any]:
    """What becomes of a route to web that says this."""
    registry, rules = compiler(virtual_service("web", "web", TO_WEB.format(said)), *texts)
    web = registry.services["web.default.svc.cluster.local"]
    found: dict[str, Any] = RouteCompiler(registry, rules).compile(web, web.ports[0]).body["virtual_hosts"][0]
    made: dict[str, Any] = found["routes"][0]
    return made


def of_web(said: str, *texts: str) -> dict[str, Any]:
    """What becomes of web with a policy that says this."""
    registry, rules = compiler(destination_rule("web", "web", f"trafficPolicy: {{{said}}}"), *texts)
    found = cluster(registry, rules, ClusterKey("web.default.svc.cluster.local", 80))
    assert found is not None
    return dict(found.body)


@pytest.mark.parametrize(
    ("said", "today", "once"),
    [
        ("timeout: 1s", (2, TODAY), (0, TODAY)),
        ("retries: {attempts: 3}", (3, TODAY), (3, ONCE)),
        ("retries: {attempts: 3, retryOn: reset}", (3, "reset"), (3, "reset")),
        ("retries: {attempts: 0}", (0, TODAY), (0, TODAY)),
    ],
)
def test_how_often_and_after_what_a_request_is_tried_again(
    said: str, today: tuple[int, str], once: tuple[int, str]
) -> None:
    for texts, expected in (((), today), ((OLD,), once)):
        found = route(said, *texts)["route"].get("retry_policy", {})
        assert found.get("num_retries", 0) == expected[0]
        assert not expected[0] or found["retry_on"] == expected[1]


def test_of_few_endpoints_one_may_be_left_out() -> None:
    said = "outlierDetection: {consecutive5xxErrors: 3}"
    assert "always_eject_one_host" not in of_web(said)["outlier_detection"]
    assert of_web(said, OLD)["outlier_detection"]["always_eject_one_host"] is True


@pytest.mark.parametrize(
    ("endpoints", "said", "today", "once"),
    [
        (1, "", 10, 100),
        (2, "", 10, 50),
        (3, "", 10, 34),
        (12, "", 10, 10),
        (3, "maxEjectionPercent: 70", 70, 70),
    ],
)
def test_of_few_endpoints_of_tcp_one_may_be_left_out_too(endpoints: int, said: str, today: int, once: int) -> None:
    """What the relay is told is a share; Envoy is told so by a word of its own."""
    pods = [pod(f"p{n}", "app: db", f"10.244.0.{n + 1}") for n in range(endpoints)]
    rule = destination_rule("db", "db", f"trafficPolicy: {{outlierDetection: {{interval: 1s, {said}}}}}")
    for texts, most in (((), today), ((OLD,), once)):
        plan = compile_plan(join(config_of(service("db", "tcp:6379", ips="10.96.0.2"), rule, *pods, *texts), ()))
        assert [s.settings.outlier and s.settings.outlier.most_percent for s in plan.l4] == [most]


def test_endpoints_are_asked_in_turn_and_requests_are_limited() -> None:
    said = "connectionPool: {tcp: {maxConnections: 3}}"
    today, once = of_web(said), of_web(said, OLD)
    assert (today["lb_policy"], once["lb_policy"]) == ("LEAST_REQUEST", "ROUND_ROBIN")
    assert [c["circuit_breakers"]["thresholds"][0]["max_requests"] for c in (today, once)] == [2**32 - 1, 1024]
