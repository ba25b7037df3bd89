"""Fields of the API that no document uses: each as its row of the document's tables says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.chance import binomial
from tests.support.eventually import eventually
from tests.support.inside import Client, finished, pods, statuses, versions
from tests.support.lab import Lab

if TYPE_CHECKING:
    from tests.stories.documents.conftest import Given

RATINGS = "http://ratings.prod:9080"
OF_RATINGS = {"ratings-v1", "ratings-v2", "ratings-v3-a", "ratings-v3-b"}
HOST = "ratings.prod.svc.cluster.local"
SUBSETS = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: versions}
spec:
  host: ratings.prod.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: {HOST}, subset: {subset}}}}}]"


def routed(*routes: str) -> str:
    """A VirtualService of ratings; routes: in flow style without their brackets."""
    listed = "\n".join(f"  - {{{route}}}" for route in routes)
    return (
        "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: ratings}\n"
        f"spec:\n  hosts: [{HOST}]\n  http:\n{listed}\n"
    )


def policy(said: str) -> str:
    """A DestinationRule of ratings."""
    return (
        "apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\nmetadata: {name: ratings}\n"
        f"spec:\n  host: {HOST}\n  trafficPolicy: {{{said}}}\n"
    )


@pytest.mark.api("HTTPRoute.mirror")
def test_the_answer_does_not_wait_for_the_mirror(given: Given, lab: Lab, client: Client, tmp_path: Path) -> None:
    given(SUBSETS, routed(f"mirror: {{host: {HOST}, subset: v2}}, {to('v1')}"))
    done = tmp_path / "done"
    assert client.get(f"{RATINGS}/?held={done}&by=ratings-v2").json["version"] == "v1"
    mirror = f"http://{lab.address('prod/ratings-v2', '4')}:8080/"
    eventually(lambda: client.get(mirror).json["holding"] == 1, "the mirror has the request")
    done.touch()
    eventually(lambda: client.get(mirror).json["holding"] == 0, "it is answered, to nobody")


@pytest.mark.api("HTTPRoute.appendHeaders", "HTTPRewrite.authority")
def test_a_route_adds_headers_and_names_another_host(given: Given, client: Client) -> None:
    given(SUBSETS, routed(f"appendHeaders: {{x-stage: canary}}, rewrite: {{authority: inner.example}}, {to('v1')}"))
    headers = client.get(f"{RATINGS}/", "-H", "x-stage: mine").json["headers"]
    assert (headers["x-stage"], headers["host"]) == ("mine,canary", "inner.example")


@pytest.mark.api("CorsPolicy.exposeHeaders")
def test_pages_may_read_the_headers_that_are_exposed(given: Given, client: Client) -> None:
    given(SUBSETS, routed(f"corsPolicy: {{allowOrigin: ['*'], exposeHeaders: [x-pages, x-more]}}, {to('v1')}"))
    seen = client.get(f"{RATINGS}/", "-H", "Origin: http://any.example").headers
    assert seen["access-control-expose-headers"] == "x-pages,x-more"


@pytest.mark.api("HTTPMatchRequest.port", "HTTPMatchRequest.scheme", "HTTPMatchRequest.gateways")
def test_a_route_may_be_for_a_port_a_scheme_and_a_gateway(given: Given, client: Client) -> None:
    given(
        SUBSETS,
        routed(
            f"match: [{{gateways: [some-gateway]}}, {{scheme: {{exact: https}}}}, {{port: 7777}}], {to('v2')}",
            f"match: [{{port: 80, scheme: {{exact: http}}, gateways: [mesh]}}], {to('v1')}",
            f"match: [{{port: 9080}}], {to('v2')}",
        ).replace("  http:", "  gateways: [some-gateway, mesh]\n  http:"),
    )
    assert versions(client.each("http://ratings.prod/", 5)) == {"v1": 5}
    assert versions(client.each(f"{RATINGS}/", 5)) == {"v2": 5}


@pytest.mark.api(
    "LoadBalancerSettings.ConsistentHashLB.httpHeaderName", "LoadBalancerSettings.ConsistentHashLB.minimumRingSize"
)
def test_a_header_chooses_the_endpoint(given: Given, client: Client) -> None:
    given(policy("loadBalancer: {consistentHash: {httpHeaderName: x-user, minimumRingSize: 65536}}"))
    for user in "ab":
        assert len(pods(client.each(f"{RATINGS}/", 5, "-H", f"x-user: {user}"))) == 1
    many = client.every(*((f"{RATINGS}/", "-H", f"x-user: {user}") for user in range(20)))
    assert len(pods(many)) > 1, "not everybody has the same"


@pytest.mark.api("LoadBalancerSettings.ConsistentHashLB.useSourceIp")
def test_a_client_has_one_endpoint(given: Given, client: Client) -> None:
    given(policy("loadBalancer: {consistentHash: {useSourceIp: true}}"))
    assert len(pods(client.each(f"{RATINGS}/", 20, "-H", "Connection: close"))) == 1


@pytest.mark.api("LoadBalancerSettings.ConsistentHashLB.HTTPCookie.path")
def test_the_cookie_of_an_endpoint_is_for_a_path(given: Given, client: Client) -> None:
    given(policy("loadBalancer: {consistentHash: {httpCookie: {name: user, path: /ratings, ttl: 60s}}}"))
    cookie = client.get(f"{RATINGS}/ratings").headers["set-cookie"]
    assert cookie.startswith("user=")
    assert {"Max-Age=60", "Path=/ratings"} <= set(cookie.split("; "))


@pytest.mark.api("LoadBalancerSettings.SimpleLB.RANDOM")
def test_chance_chooses_an_endpoint_whatever_it_has_to_do(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given(policy("loadBalancer: {simple: RANDOM}"))
    done = tmp_path / "done"
    asked = client.start(f"{RATINGS}/?held={done}&by=ratings-v1", 100, tmp_path)
    busy = f"http://{lab.address('prod/ratings-v1', '4')}:8080/"
    eventually(lambda: client.get(busy).json["holding"], "one is busy")
    found = pods(client.each(f"{RATINGS}/", 400))
    done.touch()
    assert statuses(finished(asked)) == {200: 100}
    assert found.keys() == OF_RATINGS
    assert all(count in binomial(400, 0.25) for count in found.values())


@pytest.mark.api(
    "ConnectionPoolSettings.HTTPSettings.http1MaxPendingRequests",
    "ConnectionPoolSettings.HTTPSettings.http2MaxRequests",
)
@pytest.mark.parametrize(
    "pool", ["tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}", "http: {http2MaxRequests: 2}"]
)
def test_who_comes_to_a_service_that_has_enough_to_do_is_refused(
    given: Given, lab: Lab, client: Client, tmp_path_factory: pytest.TempPathFactory, pool: str
) -> None:
    given(SUBSETS.rstrip() + f"\n  trafficPolicy: {{connectionPool: {{{pool}}}}}\n", routed(to("v1")))
    place = tmp_path_factory.mktemp("answers")
    asked = client.start(f"{RATINGS}/?held={place / 'done'}", 40, place)
    busy = f"http://{lab.address('prod/ratings-v1', '4')}:8080/"
    eventually(lambda: client.get(busy).json["holding"], "somebody is served")
    eventually(lambda: len(list(place.glob("[0-9]*"))) >= 30, "most are refused at once")
    (place / "done").touch()
    assert statuses(finished(asked)).keys() == {200, 503}


@pytest.mark.api("LoadBalancerSettings.SimpleLB.PASSTHROUGH")
def test_requests_may_go_on_to_whom_the_client_dialled(given: Given, lab: Lab, client: Client) -> None:
    """A route to somebody else whose rule says so: what was dialled answers, and not that one."""
    each = "ratings-each.prod.svc.cluster.local"
    there = routed("route: [{destination: {host: reviews.prod.svc.cluster.local, port: {number: 9080}}}]")
    given(
        there.replace(HOST, each),
        policy("loadBalancer: {simple: PASSTHROUGH}").replace(HOST, "reviews.prod.svc.cluster.local"),
    )
    addresses = {pod: lab.pods()[f"prod/{pod}"]["ip"] for pod in ("ratings-v1", "ratings-v3-b")}
    asked = client.every(*((f"http://{ip}:8080/?n=[1-5]", "-H", f"Host: {each}") for ip in addresses.values()))
    assert pods(asked) == dict.fromkeys(addresses, 5)


@pytest.mark.api("OutlierDetection.interval", "OutlierDetection.maxEjectionPercent")
def test_who_was_left_out_comes_back_when_its_time_is_over(given: Given, client: Client, tmp_path: Path) -> None:
    outlier = "consecutiveErrors: 3, interval: 0.1s, baseEjectionTime: 2s, maxEjectionPercent: 50"
    given(policy(f"outlierDetection: {{{outlier}}}"))
    failed = statuses(client.each(f"{RATINGS}/?fail=1000&by=ratings-v1&key={tmp_path.name}", 400))[503]
    assert 3 <= failed < binomial(400, 0.25).start
    eventually(lambda: pods(client.each(f"{RATINGS}/", 100)).keys() == OF_RATINGS, "it is there again")


@pytest.mark.api("TrafficPolicy.PortTrafficPolicy.connectionPool", "TrafficPolicy.PortTrafficPolicy.outlierDetection")
def test_pools_and_outliers_of_one_port(given: Given, client: Client, tmp_path: Path) -> None:
    at_9080 = "connectionPool: {http: {maxRequestsPerConnection: 1}}"
    at_9080 += ", outlierDetection: {consecutiveErrors: 3, baseEjectionTime: 1h, maxEjectionPercent: 50}"
    given(policy(f"portLevelSettings: [{{port: {{number: 9080}}, {at_9080}}}]"))

    def connections(url: str) -> int:
        return len({(reply.json["pod"], reply.json["connection"]) for reply in client.each(url, 20)})

    assert connections(f"{RATINGS}/") == 20
    assert connections("http://ratings.prod/") < 20
    failing = f"?fail=1000&by=ratings-v1&key={tmp_path.name}"
    eventually(lambda: "ratings-v1" not in pods(client.each(f"{RATINGS}/{failing}", 40)), "it is left out")
    assert pods(client.each(f"http://ratings.prod/{failing}", 100)).keys() == OF_RATINGS
