from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.clock import ManualClock
from tests.support.configs import config_of, pod, sandbox

from tidegate.compile.facts import Facts, join
from tidegate.model.authorization import PolicyVerdict
from tidegate.relay.events import CloseReason, FlowEvent, Judgement
from tidegate.telemetry.flows import Clients, Judged, follow_flows
from tidegate.telemetry.judged import LINES_AT_ONCE, Refusals
from tidegate.telemetry.metrics import PolicyMetrics, TcpMetrics
from tidegate.telemetry.pairs import Pairs, PairTotals

CONFIG = config_of(
    pod("client", "app: client", "10.0.0.1"),
    pod("web-6f9c-x2v8q", "app: web, pod-template-hash: 6f9c", "10.0.0.2"),
)
CLIENT = sandbox("client", "10.0.0.1")
FACTS = join(CONFIG, [CLIENT])
CONTAINER = """
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: default, labels: {app: web}}
spec: {containers: [{name: c}]}
"""


def flow(endpoint: str | None) -> FlowEvent:
    return FlowEvent(
        client=ip_address("10.0.0.1"),
        client_port=40000,
        dst=ip_address("10.96.0.1"),
        dst_port=80,
        endpoint=ip_address(endpoint) if endpoint else None,
        endpoint_port=8080,
        service=7,
        reason=CloseReason.OK,
        netns_cookie=1,
        started_ns=0,
        duration_ns=1000,
        bytes_to_server=10,
        bytes_to_client=300,
    )


async def told(*flows: FlowEvent, pairs: Pairs | None = None, facts: Facts = FACTS) -> CollectorRegistry:
    async def events() -> AsyncIterator[FlowEvent]:
        for one in flows:
            yield one

    registry = CollectorRegistry()
    names = {7: "web.default.svc.cluster.local:80"}
    policies = Judged(PolicyMetrics(registry), Refusals(ManualClock()), lambda table, number: f"table{table}/{number}")
    await follow_flows(events(), TcpMetrics(registry), lambda: facts, names.__getitem__, pairs or Pairs(), policies)
    return registry


def sample(registry: CollectorRegistry, name: str, destination: str) -> float | None:
    labels = {
        "reporter": "source",
        "source_workload": "client",
        "source_workload_namespace": "default",
        "destination_workload": destination,
        "destination_workload_namespace": "unknown" if destination == "unknown" else "default",
        "destination_service": "web.default.svc.cluster.local",
        "destination_service_name": "web",
        "destination_service_namespace": "default",
        "request_protocol": "tcp",
        "connection_security_policy": "none",
    }
    return registry.get_sample_value(name, labels)


async def test_connections_are_counted_under_the_deployment_not_the_pod() -> None:
    registry = await told(flow("10.0.0.2"), flow("10.0.0.2"))
    assert sample(registry, "istio_tcp_connections_closed_total", "web") == 2
    assert sample(registry, "istio_tcp_received_bytes_total", "web") == 20
    assert sample(registry, "istio_tcp_sent_bytes_total", "web") == 600


async def test_a_sum_of_connections_counts_as_many() -> None:
    registry = await told(replace(flow("10.0.0.2"), opened=5, connections=5), flow("10.0.0.2"))
    assert sample(registry, "istio_tcp_connections_opened_total", "web") == 6
    assert sample(registry, "istio_tcp_connections_closed_total", "web") == 6
    assert sample(registry, "istio_tcp_received_bytes_total", "web") == 20


async def test_a_connection_that_lives_is_open_and_its_bytes_count_once(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("tidegate.access").setLevel("INFO")
    lives = replace(flow("10.0.0.2"), connections=0, duration_ns=0)
    ends = replace(flow("10.0.0.2"), opened=0, bytes_to_server=1, earlier_to_server=10, earlier_to_client=300)
    registry = await told(lives)
    assert sample(registry, "istio_tcp_connections_opened_total", "web") == 1
    assert sample(registry, "istio_tcp_connections_closed_total", "web") == 0
    assert sample(registry, "istio_tcp_received_bytes_total", "web") == 10
    assert not caplog.messages, "the access log is of connections that ended"
    registry = await told(lives, ends)
    assert sample(registry, "istio_tcp_connections_opened_total", "web") == 1
    assert sample(registry, "istio_tcp_connections_closed_total", "web") == 1
    assert sample(registry, "istio_tcp_received_bytes_total", "web") == 11
    assert "sent=600 received=11 " in caplog.messages[0], "all of its bytes"


async def test_a_connection_without_an_endpoint_is_counted_too() -> None:
    assert sample(await told(flow(None)), "istio_tcp_connections_opened_total", "unknown") == 1


async def test_a_container_that_nobody_wrote_a_status_for_has_its_name() -> None:
    facts = join(
        config_of(pod("client", "app: client", "10.0.0.1"), CONTAINER), [CLIENT, sandbox("box", "10.0.0.7", cookie=9)]
    )
    registry = await told(flow("10.0.0.7"), facts=facts)
    assert sample(registry, "istio_tcp_connections_opened_total", "box") == 1
    assert sample(await told(flow("10.0.0.7")), "istio_tcp_connections_opened_total", "unknown") == 1


async def test_each_client_pod_and_service_has_its_totals() -> None:
    pairs = Pairs()
    refused = replace(flow(None), reason=CloseReason.CONNECT_REFUSED, bytes_to_client=0)
    await told(flow("10.0.0.2"), refused, replace(flow("10.0.0.2"), netns_cookie=2, connections=4), pairs=pairs)
    assert pairs.totals() == {
        (1, "web.default.svc.cluster.local:80"): PairTotals(ended=2, failed=1, bytes_to_server=20, bytes_to_client=300),
        (2, "web.default.svc.cluster.local:80"): PairTotals(ended=4, bytes_to_server=10, bytes_to_client=300),
    }


def test_pairs_are_bounded_and_the_first_goes_first() -> None:
    pairs = Pairs(limit=2)
    for cookie in (1, 2, 1, 3):
        pairs.observe(replace(flow("10.0.0.2"), netns_cookie=cookie), "web")
    assert {key: totals.ended for key, totals in pairs.totals().items()} == {(2, "web"): 1, (3, "web"): 1}


@pytest.mark.case("E6")
async def test_a_pod_that_binds_a_neighbours_address_is_counted_as_itself() -> None:
    """It put the address on its lo; the event has the address that it bound, and the namespace that it is in."""
    facts = join(CONFIG, [CLIENT, sandbox("web-6f9c-x2v8q", "10.0.0.2", cookie=2)])
    forged = replace(flow("10.0.0.2"), client=ip_address("10.0.0.2"))
    registry = await told(forged, facts=facts)
    assert sample(registry, "istio_tcp_connections_opened_total", "web") == 1


@pytest.mark.case("E6")
async def test_an_address_alone_names_nobody() -> None:
    registry = await told(replace(flow("10.0.0.2"), netns_cookie=77))
    assert sample(registry, "istio_tcp_connections_opened_total", "web") is None


@pytest.mark.case("E6")
def test_connections_of_a_pod_that_is_gone_have_its_name_for_a_while() -> None:
    clients = Clients(limit=2)
    assert clients.workload(FACTS, 1) == ("default", "client")
    config = config_of(*(pod(name, "a: b", f"10.0.1.{n}") for n, name in enumerate(("x", "y", "z"), 1)))
    assert clients.workload(join(config, [sandbox("x", cookie=11)]), 1) == ("default", "client")
    later = join(config, [sandbox(name, cookie=n) for n, name in ((11, "x"), (12, "y"), (13, "z"))])
    assert [clients.workload(later, n) for n in (1, 11, 12, 13)] == [
        ("", ""),
        ("default", "x"),
        ("default", "y"),
        ("default", "z"),
    ]


def judged(verdict: PolicyVerdict, reason: CloseReason, **more: Any) -> FlowEvent:
    """A connection of the client's pod to the server's, as the relay in front of the latter tells of it."""
    said = Judgement(generation=7, verdict=verdict, policy=3, **more)
    return replace(flow("10.0.0.2"), reason=reason, service=0, netns_cookie=2, caller=1, judged=said)


def inbound_facts() -> Facts:
    return join(CONFIG, [CLIENT, sandbox("web-6f9c-x2v8q", "10.0.0.2", cookie=2)])


async def test_what_comes_to_a_pod_is_reported_from_its_end() -> None:
    registry = await told(judged(PolicyVerdict.ALLOW_BY_POLICY, CloseReason.OK), facts=inbound_facts())
    labels = {"reporter": "destination", "source_workload": "client", "destination_workload": "web"}
    found = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "istio_tcp_connections_closed_total" and labels.items() <= sample.labels.items()
    ]
    assert found == [1]
    assert registry.get_sample_value("tidegate_policy_decisions_total", {"verdict": "allow_by_policy"}) == 1


async def test_what_is_refused_is_counted_and_logged_with_the_policy(caplog: pytest.LogCaptureFixture) -> None:
    refused = judged(PolicyVerdict.DENY_BY_POLICY, CloseReason.DENY_POLICY)
    late = judged(PolicyVerdict.DENY_BY_POLICY, CloseReason.DENY_LATE)
    registry = await told(refused, replace(late, opened=0), facts=inbound_facts())
    for verdict in ("deny_by_policy", "deny_late"):
        assert registry.get_sample_value("tidegate_policy_decisions_total", {"verdict": verdict}) == 1
    first, second = [record.getMessage() for record in caplog.records if record.name == "tidegate.policy"]
    assert first.startswith("deny_by_policy: policy=table7/3 src=10.0.0.1:")
    assert "(default/client) dst=" in first
    assert "(default/web)" in first
    assert second.startswith("deny_late: ")


async def test_what_is_on_trial_or_audited_is_counted_by_policy() -> None:
    more: dict[str, Any] = {"would": PolicyVerdict.DENY_BY_POLICY, "would_policy": 4, "audited": 5}
    registry = await told(judged(PolicyVerdict.ALLOW_NO_POLICY, CloseReason.OK, **more), facts=inbound_facts())
    would = {"verdict": "deny_by_policy", "policy": "table7/4"}
    assert registry.get_sample_value("tidegate_policy_would_total", would) == 1
    assert registry.get_sample_value("tidegate_policy_audited_total", {"policy": "table7/5"}) == 1


def test_who_knocks_without_end_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    refusals = Refusals(clock)
    knock = judged(PolicyVerdict.DENY_BY_POLICY, CloseReason.DENY_POLICY)
    for _ in range(int(LINES_AT_ONCE) + 5):
        refusals.observe(knock, ("", ""), ("default", "web"), "default/p")
    assert len(caplog.records) == LINES_AT_ONCE
    assert "(no identity)" in caplog.records[0].getMessage()
    clock.advance(1.0)
    refusals.observe(knock, ("", ""), ("default", "web"), "")
    assert caplog.records[-1].getMessage().endswith("connections=1, 5 more lines left out")
    assert "policy=- " in caplog.records[-1].getMessage()
