"""gRPC and HTTP/2 through Envoy, seen from an ordinary gRPC client in a pod."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.chance import binomial
from tests.support.lab import MANIFESTS, ROOT, Lab

SERVICE = ROOT / "tests" / "support" / "grpc_service.py"
PYTHON = ROOT / ".venv" / "bin" / "python"
FOR_EVER = 90  # seconds; nobody waits for that
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: story }
spec:
  hosts: [story]
  http:
"""

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("grpc")
    lab.up(MANIFESTS / "grpc.yaml")
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def ask(lab: Lab) -> Ask:
    def ask_(*arguments: str, target: str = "dns:///story:50051") -> dict[str, Any]:
        value: dict[str, Any] = json.loads(lab.exec("client", PYTHON, SERVICE, "ask", target, *arguments).stdout)
        return value

    return ask_


@pytest.fixture
def route(lab: Lab) -> Iterator[Callable[[str], object]]:
    """Apply a VirtualService for host story whose spec.http is the YAML given; removed afterwards."""
    yield lambda http: lab.apply(RULE + http)
    lab.delete(lab.run_dir / "applied-by-test.yaml")


def to(subset: str) -> str:
    return f"route: [{{ destination: {{ host: story, subset: {subset} }} }}]"


@pytest.mark.case("C1")
@pytest.mark.parametrize(
    "port", ["50051", "50052", "50053", "50054", "50055"], ids=["grpc", "http2", "h2c", "appProtocol-grpc", "http"]
)
def test_each_declaration_of_http2_is_served(ask: Ask, lab: Lab, port: str) -> None:
    got = ask(target=f"dns:///story:{port}")
    assert (got["code"], got["trailers"]["x-version"]) == ("OK", got["answer"]["version"])
    # The resolver of gRPC prefers IPv6 where a name has both.
    ips = {lab.address("default/client", family) for family in ("4", "6")}
    assert got["answer"]["metadata"]["x-forwarded-for"] in ips


@pytest.mark.parametrize("family", ["4", "6"])
def test_addresses_of_both_families(ask: Ask, lab: Lab, family: str) -> None:
    rows = json.loads(lab.tidegate("services", "-o", "json").stdout)
    vip = next(r["address"] for r in rows if (":" in r["address"]) == (family == "6") and r["port"] == 50052)
    target = f"ipv6:[{vip}]:50052" if family == "6" else f"ipv4:{vip}:50052"
    got = ask(target=target)
    assert got["answer"]["metadata"]["x-forwarded-for"] == lab.address("default/client", family)


def test_streams_both_ways_and_large_messages(ask: Ask) -> None:
    # The server sends a message only when the one before it has been answered: each comes by itself, both ways.
    played = ask("--method", "Play", "--body", "4")
    assert (played["code"], played["messages"]) == ("OK", [1] * 4)
    echoed = ask("--method", "Echo", "--body", "abcd", "--repeat", "500000")
    assert (echoed["code"], echoed["messages"]) == ("OK", [2_000_000] * 5)


@pytest.mark.parametrize("method", ["Ask", "Count"])
def test_status_and_trailers_of_the_server_arrive(ask: Ask, method: str) -> None:
    got = ask("--method", method, "-H", "refuse: not today")
    assert (got["code"], got["details"]) == ("FAILED_PRECONDITION", "not today")
    assert got["trailers"]["x-version"] in ("v1", "v2")


def test_calls_of_one_connection_are_split_by_weight(ask: Ask, route: Callable[[str], object]) -> None:
    route("""
    - route:
        - { destination: { host: story, subset: v1 }, weight: 75 }
        - { destination: { host: story, subset: v2 }, weight: 25 }
""")
    got = ask("--count", "6000")
    assert got["codes"] == {"OK": 6000}
    assert got["versions"]["v1"] in binomial(6000, 0.75)


def test_metadata_and_method_are_matched(ask: Ask, route: Callable[[str], object]) -> None:
    route(f"""
    - match: [{{ headers: {{ end-user: {{ exact: jason }} }}, uri: {{ exact: /story.Story/Ask }} }}]
      {to("v2")}
    - {to("v1")}
""")
    assert ask("-H", "end-user: jason", "--count", "20")["versions"] == {"v2": 20}
    assert ask("--count", "20")["versions"] == {"v1": 20}
    assert ask("-H", "end-user: jason", "--method", "Echo")["trailers"]["x-version"] == "v1"


@pytest.mark.parametrize(("attempts", "code", "tries"), [(3, "OK", 3), (1, "UNAVAILABLE", 2), (0, "UNAVAILABLE", 1)])
def test_unavailable_is_tried_again(
    ask: Ask, route: Callable[[str], object], attempts: int, code: str, tries: int
) -> None:
    retry_on = ", retryOn: unavailable, perTryTimeout: 60s" if attempts else ""
    route(f"""
    - retries: {{ attempts: {attempts}{retry_on} }}
      {to("v1")}
""")
    got = ask("-H", "fail: 2", "-H", f"key: story-{attempts}")
    assert got["code"] == code
    assert ask("-H", "fail: 0", "-H", f"key: story-{attempts}")["answer"]["tries"] == tries + 1


def test_timeout_and_faults_are_told_as_grpc_statuses(ask: Ask, route: Callable[[str], object]) -> None:
    route(f"""
    - match: [{{ headers: {{ want: {{ exact: timeout }} }} }}]
      timeout: 0.5s
      {to("v1")}
    - match: [{{ headers: {{ want: {{ exact: status }} }} }}]
      fault: {{ abort: {{ grpcStatus: RESOURCE_EXHAUSTED, percentage: {{ value: 100 }} }} }}
      {to("v1")}
    - match: [{{ headers: {{ want: {{ exact: nobody }} }} }}]
      {to("v9")}
    - match: [{{ headers: {{ want: {{ exact: deadline }} }} }}]
      {to("v1")}
""")
    late = ask("-H", "want: timeout", "-H", f"wait: {FOR_EVER}", "--deadline", "3600")
    # Ended by Envoy, or in the same moment by the server, which Envoy tells the limit.
    assert late["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert late["seconds"] > 0.4
    assert ask("-H", "want: status")["code"] == "RESOURCE_EXHAUSTED"
    assert ask("-H", "want: nobody")["code"] == "UNAVAILABLE"
    assert ask()["code"] == "UNIMPLEMENTED", "no route fits"
    hasty = ask("-H", "want: deadline", "-H", f"wait: {FOR_EVER}", "--deadline", "0.5")
    # Envoy is told the limit, too, and which of the two is first is chance.
    ended = (hasty["code"], "upstream request timeout" in hasty["details"])
    assert ended in (("DEADLINE_EXCEEDED", False), ("UNAVAILABLE", True))


def test_a_headless_name_leads_to_the_pod_that_was_resolved(ask: Ask, lab: Lab) -> None:
    for name, pod in lab.pods().items():
        if "/story-" in name:
            got = ask("--count", "20", target=f"ipv4:{pod['ip']}:50051")
            assert got["versions"] == {name.partition("/story-")[2][:2]: 20}
