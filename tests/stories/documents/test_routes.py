"""Documents that say where requests go: subsets, weights, rewrites, a timeout, and what a short name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.chance import binomial
from tests.support.inside import Client, statuses, versions
from tests.support.lab import Lab
from tests.support.outside import curl, external_address

if TYPE_CHECKING:
    from tests.stories.documents.conftest import Given

REVIEWS = "http://reviews.prod:9080"
# A rule of ours that leads to the subset that a header names.
BY_HEADER = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: by-header, namespace: {namespace}}}
spec:
  hosts: [{host}]
  http:
  - match: [{{headers: {{want: {{exact: v1}}}}}}]
    route: [{{destination: {{host: {host}, subset: v1}}}}]
  - match: [{{headers: {{want: {{exact: v2}}}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
"""
SITE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  addresses: [{address}]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{site: {host}}}}}
"""


def rewritten(client: Client, host: str) -> None:
    """What documents 05 and 48 say of a host."""
    url = f"http://{host}:9080"
    found = client.every((f"{url}/wpcatalog/7?all=1",), (f"{url}/consumercatalog/7?all=1",))
    assert [(r.json["version"], r.json["path"]) for r in found] == [("v2", "/newcatalog/7?all=1")] * 2
    others = client.every(*((f"{url}{path}?n=[1-8]",) for path in ("/", "/catalog", "/Wpcatalog")))
    assert versions(others) == {"v1": 24}


def subsets(client: Client, host: str) -> None:
    """That each subset is the pods of its version, where BY_HEADER is in force."""
    for version in ("v1", "v2"):
        assert versions(client.each(f"http://{host}:9080/", 8, "-H", f"want: {version}")) == {version: 8}


@pytest.mark.document("05-virtualservice-reviews-route")
@pytest.mark.api("Destination.host", "Destination.subset", "VirtualService.hosts", "HTTPRewrite.uri")
def test_a_short_host_is_the_service_of_the_rules_namespace(given: Given, lab: Lab, client: Client) -> None:
    given("06-destinationrule-reviews-destination", "05-virtualservice-reviews-route")
    rewritten(client, "reviews.foo")
    rewritten(Client(lab, "client", "foo"), "reviews")
    elsewhere = client.each(f"{REVIEWS}/wpcatalog", 40, "-H", "Connection: close")
    assert versions(elsewhere).keys() == {"v1", "v2"}, "reviews of another namespace has no rule"
    assert {reply.json["path"].partition("?")[0] for reply in elsewhere} == {"/wpcatalog"}


@pytest.mark.document("06-destinationrule-reviews-destination")
@pytest.mark.api("DestinationRule.host", "Subset.name", "Subset.labels")
def test_a_rule_of_a_short_host_divides_the_service_of_its_namespace(given: Given, client: Client) -> None:
    of_foo = BY_HEADER.format(host="reviews.foo.svc.cluster.local", namespace="foo")
    of_prod = BY_HEADER.format(host="reviews.prod.svc.cluster.local", namespace="prod")
    given("06-destinationrule-reviews-destination", of_foo, of_prod)
    subsets(client, "reviews.foo")
    assert statuses(client.each(f"{REVIEWS}/", 3, "-H", "want: v1")) == {503: 3}, "reviews.prod has no subsets"


@pytest.mark.document("07-virtualservice-my-productpage-rule")
@pytest.mark.api("HTTPRoute.timeout")
def test_who_does_not_answer_within_five_seconds_is_given_up(given: Given, client: Client, tmp_path: Path) -> None:
    """The rule stands in istio-system and names the service of another namespace in full."""
    given("07-virtualservice-my-productpage-rule")
    there = tmp_path / "there"
    (late,) = client.each(f"http://productpage.prod:9080/?held={there}", 1)
    there.touch()
    assert (late.status, late.seconds >= 5) == (504, True)
    assert client.get("http://productpage.prod:9080/").status == 200


@pytest.mark.document("13-virtualservice-reviews-route")
@pytest.mark.api("DestinationWeight.destination", "DestinationWeight.weight", "HTTPRoute.route")
def test_a_quarter_of_the_requests_goes_to_v2(given: Given, client: Client) -> None:
    given("14-destinationrule-reviews-destination", "13-virtualservice-reviews-route")
    found = versions(client.each(f"{REVIEWS}/", 600))
    assert found.keys() == {"v1", "v2"}
    assert found["v2"] in binomial(600, 0.25)


@pytest.mark.document("14-destinationrule-reviews-destination")
def test_subsets_are_the_pods_with_their_labels(given: Given, client: Client) -> None:
    host = "reviews.prod.svc.cluster.local"
    given("14-destinationrule-reviews-destination", BY_HEADER.format(host=host, namespace="default"))
    subsets(client, "reviews.prod")


@pytest.mark.document("15-virtualservice-reviews-route-two-domains")
def test_requests_are_divided_between_two_domains(given: Given, client: Client) -> None:
    given(
        SITE.format(name="reviews", host="reviews.com", address="10.99.0.1"),
        SITE.format(name="dev-reviews", host="dev.reviews.com", address="10.99.0.2"),
        "15-virtualservice-reviews-route-two-domains",
    )
    names = ("--resolve", "reviews.com:80:10.99.0.1", "--resolve", "dev.reviews.com:80:10.99.0.2")
    found = versions(client.each("http://reviews.com/", 600, *names))
    assert found.keys() == {"reviews.com", "dev.reviews.com"}
    assert found["dev.reviews.com"] in binomial(600, 0.25)
    assert versions(client.each("http://dev.reviews.com/", 8, *names)) == {"dev.reviews.com": 8}


@pytest.mark.document("18-virtualservice-bookinfo-rule")
@pytest.mark.api("VirtualService.gateways", "HTTPRoute.match", "HTTPMatchRequest.headers", "PortSelector.number")
def test_one_rule_holds_in_the_mesh_and_at_the_gateway(given: Given, lab: Lab, client: Client) -> None:
    given("17-gateway-my-gateway", "18-virtualservice-bookinfo-rule")
    address = external_address(lab, "my-gateway-controller")
    others, cookies = ("/", "/ratings/", "/reviews"), ("user=dev-123", "theme=dark; user=dev-123; lang=uk")
    nobody = client.every(*((f"{REVIEWS}{other}",) for other in others), (f"{REVIEWS}/", "-b", "user=dev-1234"))
    assert statuses(nobody) == {404: 4}
    assert versions(client.every(*((f"{REVIEWS}/any", "-b", cookie) for cookie in cookies))) == {"special": 2}
    for host in ("uk.bookinfo.com:9080", "eu.bookinfo.com:9080"):
        assert [curl(address, f"http://{host}{other}").status for other in others] == [404] * 3
        at_the_gateway = [curl(address, f"http://{host}/any", "-b", cookie).json["version"] for cookie in cookies]
        assert at_the_gateway == ["special"] * 2
    found = versions(client.each(f"{REVIEWS}/reviews/", 400))
    assert found.keys() == {"v1", "v2", "qa"}
    assert found["qa"] in binomial(400, 0.2)
    assert curl(address, "http://eu.bookinfo.com:9080/reviews/").json["version"] in found


@pytest.mark.document("48-virtualservice-reviews-route")
@pytest.mark.api("HTTPRoute.rewrite", "HTTPMatchRequest.uri", "VirtualService.http", "StringMatch.prefix")
def test_two_catalogues_are_rewritten_and_the_rest_goes_to_v1(given: Given, client: Client) -> None:
    given("49-destinationrule-reviews-destination", "48-virtualservice-reviews-route")
    rewritten(client, "reviews.prod")


@pytest.mark.document("49-destinationrule-reviews-destination")
@pytest.mark.api("DestinationRule.subsets")
def test_a_route_serves_as_soon_as_its_subsets_are_defined(given: Given, client: Client) -> None:
    given("48-virtualservice-reviews-route")
    assert client.get(f"{REVIEWS}/").status == 503
    given("49-destinationrule-reviews-destination")
    rewritten(client, "reviews.prod")
