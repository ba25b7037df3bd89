"""Documents that say how an endpoint is chosen, and how much one is asked at once: balancers, pools, outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.chance import binomial
from tests.support.eventually import eventually
from tests.support.inside import Client, Reply, finished, pods, statuses
from tests.support.lab import Lab

if TYPE_CHECKING:
    from tests.stories.documents.conftest import Given

RATINGS = "http://ratings.prod:{port}"
OF_RATINGS = ("ratings-v1", "ratings-v2", "ratings-v3-a", "ratings-v3-b")
REVIEWS = "http://reviews.prod:9080"
TO_TESTVERSION = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings.prod.svc.cluster.local]
  http:
  - match: [{uri: {prefix: /test}}]
    route: [{destination: {host: ratings.prod.svc.cluster.local, subset: testversion}}]
  - route: [{destination: {host: ratings.prod.svc.cluster.local}}]
"""
# Document 28 does not say how many may be left out at once; that is a tenth then.
MORE = range(8081, 8089)
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: more-reviews-{port}, namespace: prod, labels: {{kubernetes.io/service-name: reviews}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}]}}]
ports: [{{name: http, port: {port}}}]
"""
TIMES = 240
BUSY = 100  # of four endpoints, none is never chosen among so many with a probability of 3e-13


@contextmanager
def busy(lab: Lab, client: Client, url: str, pod: str, place: Path) -> Iterator[None]:
    """While this lasts, one pod has something to do: what came to it of many requests; all others are answered."""
    done = place / "done"
    asked = client.start(f"{url}?held={done}&by={pod}", BUSY, place)

    own = f"http://{lab.address(f'prod/{pod}', '4')}:8080/"

    def all_others_are_answered() -> bool:
        waiting = holding(client, own)
        return waiting > 0 and waiting + len(list(place.glob("[0-9]*"))) == BUSY

    try:
        eventually(all_others_are_answered, f"{pod} is busy")
        yield
    finally:
        done.touch()
        answered = statuses(finished(asked))
    assert answered == {200: BUSY}


def holding(client: Client, *pods: str) -> int:
    """How many requests wait in pods, whose own URLs these are."""
    return sum(reply.json["holding"] for reply in client.every(*((pod,) for pod in pods)))


def in_turn(client: Client, url: str, names: tuple[str, ...]) -> bool:
    """Whether each pod is asked as often as each other, whatever it has to do."""
    return pods(client.each(url, 5 * len(names))) == dict.fromkeys(names, 5)


def spares(client: Client, url: str, pod: str) -> bool:
    """Whether a busy pod is asked only when it is drawn twice of the four: a sixteenth."""
    found = pods(client.each(url, TIMES))
    assert found.keys() <= set(OF_RATINGS)
    return found[pod] in binomial(TIMES, 1 / 16)


# The old default is another: today the document says what would be so without it.
@pytest.mark.usefixtures("in_a_mesh_of_the_old_api")
@pytest.mark.document("10-destinationrule-bookinfo-ratings")
@pytest.mark.api(
    *("DestinationRule.trafficPolicy", "TrafficPolicy.loadBalancer"),
    *("LoadBalancerSettings.simple", "LoadBalancerSettings.SimpleLB.LEAST_CONN"),
)
def test_of_two_endpoints_the_one_with_less_to_do_is_asked(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("10-destinationrule-bookinfo-ratings")
    url = RATINGS.format(port=9080)
    with busy(lab, client, url, "ratings-v1", tmp_path):
        assert spares(client, url, "ratings-v1")


@pytest.mark.document("11-destinationrule-bookinfo-ratings")
@pytest.mark.api("Subset.trafficPolicy", "LoadBalancerSettings.SimpleLB.ROUND_ROBIN")
def test_a_version_is_asked_in_turn_and_the_service_by_load(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("11-destinationrule-bookinfo-ratings", TO_TESTVERSION)
    url = RATINGS.format(port=9080)
    with busy(lab, client, url, "ratings-v3-a", tmp_path):
        assert in_turn(client, f"{url}/test", ("ratings-v3-a", "ratings-v3-b"))
        assert spares(client, f"{url}/", "ratings-v3-a")


@pytest.mark.document("12-destinationrule-bookinfo-ratings-port")
@pytest.mark.api(
    *("TrafficPolicy.portLevelSettings", "TrafficPolicy.PortTrafficPolicy.port"),
    "TrafficPolicy.PortTrafficPolicy.loadBalancer",
)
def test_one_port_is_served_by_load_and_the_other_in_turn(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("12-destinationrule-bookinfo-ratings-port")
    by_load, turned = RATINGS.format(port=80), RATINGS.format(port=9080)
    with busy(lab, client, by_load, "ratings-v2", tmp_path):
        assert spares(client, by_load, "ratings-v2")
        assert in_turn(client, turned, OF_RATINGS)


@pytest.mark.document("26-destinationrule-bookinfo-ratings")
@pytest.mark.api("LoadBalancerSettings.SimpleLB.ROUND_ROBIN")
def test_endpoints_are_asked_in_turn_also_when_one_is_busy(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("26-destinationrule-bookinfo-ratings")
    url = RATINGS.format(port=9080)
    with busy(lab, client, url, "ratings-v1", tmp_path):
        assert in_turn(client, url, OF_RATINGS)


@pytest.mark.document("27-destinationrule-bookinfo-ratings")
@pytest.mark.api(
    *("LoadBalancerSettings.consistentHash", "LoadBalancerSettings.ConsistentHashLB.httpCookie"),
    *("LoadBalancerSettings.ConsistentHashLB.HTTPCookie.name", "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl"),
)
def test_a_browser_stays_with_its_endpoint_until_it_is_closed(given: Given, client: Client, tmp_path: Path) -> None:
    given("27-destinationrule-bookinfo-ratings")
    url, jar = RATINGS.format(port=9080), tmp_path / "jar"
    first = client.get(url, "-c", jar)
    assert first.headers["set-cookie"].startswith("user=")
    assert "max-age" not in first.headers["set-cookie"].lower(), "a cookie of the session"
    again = client.each(url, 20, "-b", jar, "-H", "Connection: close")
    assert pods(again) == {first.json["pod"]: 20}
    chosen = [pods(client.every(*[(url, "-b", f"user={user}")] * 2)) for user in "ab"]
    assert [len(found) for found in chosen] == [1, 1]
    many = client.every(*((url, "-b", f"user={user}") for user in range(20)))
    assert len(pods(many)) > 1, "not everybody has the same"


@pytest.mark.document("28-destinationrule-reviews-cb-policy")
@pytest.mark.api(
    *("ConnectionPoolSettings.http", "ConnectionPoolSettings.HTTPSettings.maxRequestsPerConnection"),
    *("ConnectionPoolSettings.tcp", "ConnectionPoolSettings.TCPSettings.maxConnections"),
)
def test_a_service_is_asked_by_a_hundred_connections_of_ten_requests_each(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("28-destinationrule-reviews-cb-policy")
    lengths = Counter((reply.json["pod"], reply.json["connection"]) for reply in client.each(f"{REVIEWS}/", 60))
    assert max(lengths.values()) == 10

    done = tmp_path / "done"
    asked = client.start(f"{REVIEWS}/?held={done}", 130, tmp_path)
    own = [f"http://{lab.address(f'prod/reviews-{version}', '4')}:8080/" for version in ("v1", "v2")]
    eventually(lambda: holding(client, *own) >= 95, "a hundred requests are there")
    done.touch()
    found = finished(asked)
    assert statuses(found) == {200: 130}
    # Threads of Envoy count together what they have open, each for itself: a few more or less.
    assert sum(reply.json["waited"] for reply in found) in range(95, 106)


@pytest.mark.document("28-destinationrule-reviews-cb-policy")
@pytest.mark.api(
    "TrafficPolicy.outlierDetection", "OutlierDetection.consecutiveErrors", "OutlierDetection.baseEjectionTime"
)
def test_an_endpoint_that_fails_seven_times_in_a_row_is_left_out(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    """A tenth of the endpoints may be left out: of ten, one."""
    more = lab.address("prod/more-reviews", "4")
    slices = "\n---\n".join(SLICE.format(port=port, address=more) for port in MORE)
    given("28-destinationrule-reviews-cb-policy", slices)

    def asked(fail: int) -> list[Reply]:
        return client.each(f"{REVIEWS}/?fail={fail}&by=reviews-v1&key={tmp_path.name}-{fail}", 400)

    assert statuses(asked(6))[503] == 6
    assert "reviews-v1" in pods(client.each(f"{REVIEWS}/", TIMES)), "not after six"
    assert statuses(asked(10**9))[503] >= 7
    eventually(lambda: "reviews-v1" not in pods(asked(10**9)), "it is not asked any more")


@pytest.mark.usefixtures("in_a_mesh_of_the_old_api")
@pytest.mark.document("28-destinationrule-reviews-cb-policy")
def test_in_a_mesh_of_the_old_api_one_of_two_endpoints_may_be_left_out(
    given: Given, client: Client, tmp_path: Path
) -> None:
    given("28-destinationrule-reviews-cb-policy")
    url = f"{REVIEWS}/?fail=1000&by=reviews-v1&key={tmp_path.name}"
    assert statuses(client.each(url, 60))[503] >= 7
    eventually(lambda: pods(client.each(url, 60)) == {"reviews-v2": 60}, "the other one answers everything")


@pytest.mark.document("42-destinationrule-bookinfo-ratings")
@pytest.mark.api("Subset.labels", "Subset.trafficPolicy")
def test_the_policy_of_a_version_holds_only_where_a_route_names_it(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given("42-destinationrule-bookinfo-ratings")
    url = RATINGS.format(port=9080)
    with busy(lab, client, url, "ratings-v3-b", tmp_path):
        assert spares(client, f"{url}/test", "ratings-v3-b"), "no route names the version"
        given(TO_TESTVERSION)
        assert in_turn(client, f"{url}/test", ("ratings-v3-a", "ratings-v3-b"))
