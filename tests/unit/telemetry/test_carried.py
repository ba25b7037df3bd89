"""What Envoy counted of connections that it carries, as Istio's metrics: what is new since it was read last."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry
from tests.support.configs import config_of, pod, sandbox

from tidegate.compile.facts import Facts, join
from tidegate.errors import Transient
from tidegate.model.gateway import GatewayWorkload
from tidegate.telemetry.carried import CarriedConnections, gateway_itself, parse
from tidegate.telemetry.flows import Clients
from tidegate.telemetry.metrics import TcpMetrics

CONFIG = config_of(
    pod("client", "app: client", "10.0.0.1"),
    pod("web-6f9c-x2v8q", "app: web, pod-template-hash: 6f9c", "10.0.0.2"),
    pod("edge-abc-1", "istio: edge, pod-template-hash: abc", "10.0.0.3"),
    pod("edge-abc-2", "istio: edge, pod-template-hash: abc", "10.0.0.4"),
)
FACTS = join(CONFIG, [sandbox("client", "10.0.0.1", cookie=7)])
SERVICE = "web.default.svc.cluster.local:5432"


def name(
    what: str, *, cookie: int = 7, service: str = SERVICE, endpoint: str = "10.0.0.2:8", local: str | None = None
) -> str:
    end = "" if local is None else f".from.{local}"
    return f"tidegate.carried_{what}.pod.{cookie}.service.{service}.endpoint.{endpoint}{end}"


def page(**counters: int) -> str:
    return json.dumps({"stats": [{"name": key, "value": value} for key, value in counters.items()]})


class Envoy:
    """An admin interface with these pages, one after the other; None: it does not answer."""

    def __init__(self, *pages: str | None) -> None:
        self._pages = list(pages)

    async def get(self, path: str) -> str:
        assert "carried_" in path
        found = self._pages.pop(0)
        if found is None:
            raise Transient("Envoy admin", "no answer")
        return found


async def read(*pages: str | None, facts: Facts = FACTS) -> CollectorRegistry:
    registry = CollectorRegistry()
    carried = CarriedConnections(TcpMetrics(registry), lambda: facts, Envoy(*pages).get, Clients().workload)
    for _ in pages:
        await carried.read()
    return registry


def sample(registry: CollectorRegistry, what: str, to: str = "web", source: str = "client") -> float | None:
    for family in registry.collect():
        for one in family.samples:
            labels = one.labels
            if (one.name, labels.get("destination_workload"), labels.get("source_workload")) == (
                f"istio_tcp_{what}_total",
                to,
                source,
            ):
                assert labels["destination_service"] == "web.default.svc.cluster.local"
                return one.value
    return None


async def test_what_is_new_is_counted_with_who_asked_whom() -> None:
    first = {name("opened"): 3, name("closed", local="10.0.0.1"): 2, name("sent"): 900, name("received"): 40}
    registry = await read(page(**first), page(**{**first, name("opened"): 5, name("sent"): 1000}))
    found = {what: sample(registry, what) for what in ("connections_opened", "connections_closed", "sent_bytes")}
    assert found == {"connections_opened": 5, "connections_closed": 2, "sent_bytes": 1000}
    assert sample(registry, "received_bytes") == 40


async def test_who_never_got_through_was_opened_and_closed() -> None:
    registry = await read(page(**{name("closed", local=""): 4, name("closed", endpoint="", local=""): 1}))
    assert [sample(registry, f"connections_{what}") for what in ("opened", "closed")] == [4, 4]
    assert [sample(registry, f"connections_{what}", "unknown") for what in ("opened", "closed")] == [1, 1]


async def test_counters_of_a_new_envoy_begin_anew_and_one_that_is_away_says_nothing() -> None:
    pages = (page(**{name("opened"): 9}), None, "no json", page(**{name("opened"): 2}))
    assert sample(await read(*pages), "connections_opened") == 11


async def test_addresses_of_both_families_and_namespaces_that_nobody_knows() -> None:
    found = parse(page(**{name("opened", endpoint="[fd00::2]:80"): 1, name("opened", cookie=8, endpoint="/run/x"): 2}))
    assert [(str(key.endpoint), key.cookie, value) for key, value in found.items()] == [
        ("fd00::2", 7, 1),
        ("None", 8, 2),
    ]
    registry = await read(page(**{name("opened", cookie=8): 2}))
    assert sample(registry, "connections_opened", source="unknown") == 2


async def test_a_gateway_is_the_client_and_the_cluster_says_the_service() -> None:
    registry = CollectorRegistry()
    cluster = "outbound|5432|v1|web.default.svc.cluster.local"
    text = page(**{name("opened", cookie=0, service=cluster): 1})
    client = gateway_itself(GatewayWorkload("default", {"istio": "edge"}, ipv6=True))
    await CarriedConnections(TcpMetrics(registry), lambda: FACTS, Envoy(text).get, client).read()
    assert sample(registry, "connections_opened", source="edge") == 1
    assert gateway_itself(GatewayWorkload("default", {}, ipv6=True))(FACTS, 0) == ("default", ""), "several"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stats": 7}'])
def test_what_is_no_page(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|no stats page"):
        parse(text)


def test_others_counters_are_left_out() -> None:
    assert not parse(page(**{"tidegate.requests.pod.7.service.web:80.code.200": 1, "tidegate.carried_opened": 3}))
