"""The user's ServiceEntries and the rules for their hosts: curl and openssl in a pod, nginx outside of the mesh."""

from __future__ import annotations

import json

import pytest
from tests.stories.documents.edges.conftest import Given
from tests.support.edges import SITES, Edges
from tests.support.eventually import eventually


@pytest.mark.api("ServiceEntry.hosts", "ServiceEntry.ports", "ServiceEntry.resolution", "ServiceEntry.Resolution.DNS")
@pytest.mark.document("08-serviceentry-external-svc-wikipedia")
def test_wikipedia_becomes_a_service_of_the_mesh(edges: Edges, given: Given) -> None:
    assert edges.curl("http://wikipedia.org/wiki")["timeout"] == "", "unknown hosts go straight"
    given("08-serviceentry-external-svc-wikipedia")
    told = json.loads(edges.tidegate("explain", "client", "wikipedia.org:80", "-o", "json").stdout)
    assert told["tier"] == "envoy"
    got = eventually(lambda: edges.curl("http://wikipedia.org/wiki"), "its name is resolved")
    assert (got["server"], got["host"], got["path"]) == ("wikipedia.org", "wikipedia.org", "/wiki")


@pytest.mark.document("09-virtualservice-my-wiki-rule")
def test_requests_to_wikipedia_have_five_seconds(edges: Edges, given: Given) -> None:
    given("08-serviceentry-external-svc-wikipedia", "09-virtualservice-my-wiki-rule")
    got = eventually(lambda: edges.curl("http://wikipedia.org/"), "its name is resolved")
    assert got["timeout"] == "5000"
    late = edges.exec(
        "client", "/usr/bin/curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://wikipedia.org/never"
    )
    assert late.stdout == "504"


@pytest.mark.api(
    "ServiceEntry.addresss", "ServiceEntry.endpoints", "ServiceEntry.Endpoint.address", "ServiceEntry.Resolution.STATIC"
)
@pytest.mark.document("32-serviceentry-external-svc-mongocluster")
def test_a_database_cluster_is_reached_at_its_virtual_addresses(edges: Edges, given: Given) -> None:
    given("32-serviceentry-external-svc-mongocluster")
    for virtual in ("192.192.192.192", "192.192.192.1", "192.192.192.254"):
        url = f"http://{virtual}:27018/"
        eventually(
            lambda url=url, found=set(): found.add(edges.curl(url)["at"]) or found == {"2.2.2.2", "3.3.3.3"},  # type: ignore[misc]
            "both endpoints answer",
        )


@pytest.mark.document("34-serviceentry-external-svc-https")
def test_three_sites_are_reached_by_tls_that_nobody_ends(edges: Edges, given: Given) -> None:
    given("34-serviceentry-external-svc-https")
    for site in ("api.dropboxapi.com", "www.googleapis.com", "api.facebook.com"):
        got = eventually(lambda site=site: edges.curl(f"https://{site}/"), "its name is resolved")  # type: ignore[misc]
        assert (got["server"], got["sni"]) == (site, site), "curl believes the site's own certificate"


@pytest.mark.api(
    "VirtualService.tls", "TLSRoute.match", "TLSRoute.route", "TLSMatchAttributes.sniHosts", "TLSMatchAttributes.port"
)
@pytest.mark.document("35-virtualservice-tls-routing")
def test_tls_goes_to_the_site_that_the_client_asks_for(edges: Edges, given: Given) -> None:
    given("34-serviceentry-external-svc-https", "35-virtualservice-tls-routing")
    sites = "api.dropboxapi.com", "www.googleapis.com", "api.facebook.com"
    for dialled, asked in zip(sites, (*sites[1:], sites[0]), strict=True):
        target = f"{dialled}:443"
        met = eventually(lambda to=target, sni=asked: edges.handshake(to, sni), "its name is resolved")  # type: ignore[misc]
        assert met == asked
    assert edges.handshake(f"{sites[0]}:443", "other.example") == ""


@pytest.mark.document("36-serviceentry-external-svc-httpbin")
def test_httpbin_com_becomes_a_service_of_the_mesh(edges: Edges, given: Given) -> None:
    given("36-serviceentry-external-svc-httpbin")
    told = json.loads(edges.tidegate("explain", "client", "httpbin.com:80", "-o", "json").stdout)
    assert told["tier"] == "envoy"
    got = eventually(lambda: edges.curl("http://httpbin.com/get"), "its name is resolved")
    assert (got["server"], got["path"]) == ("httpbin.com", "/get")


@pytest.mark.api("HTTPMatchRequest.gateways", "HTTPMatchRequest.port")
@pytest.mark.document("37-gateway-istio-egressgateway")
@pytest.mark.document("38-virtualservice-gateway-routing")
def test_what_goes_out_goes_through_the_egress_gateway(edges: Edges, given: Given) -> None:
    given("36-serviceentry-external-svc-httpbin", "37-gateway-istio-egressgateway", "38-virtualservice-gateway-routing")
    assert edges.told("gateway-routing") == {"TG0119"}, "`gateway` is read as `gateways`"
    got = eventually(lambda: edges.curl("http://httpbin.com/get"), "the gateway resolves its name")
    assert (got["server"], got["host"], got["path"]) == ("httpbin.com", "httpbin.com", "/get")
    assert got["peer"] == edges.address("istio-system/my-ingress-gateway", "4")
    assert edges.curl("http://httpbin:8000/")["version"] == "httpbin", "other hosts are not concerned"


ALL_OF_BAR = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all-of-bar, namespace: default}
spec: {hosts: ["*.bar.com"], http: [{timeout: 3s, route: [{destination: {host: "*.bar.com"}}]}]}
"""


@pytest.mark.api("ServiceEntry.Resolution.NONE")
@pytest.mark.document("39-serviceentry-external-svc-wildcard-example")
def test_hosts_of_a_wildcard_are_reached_where_the_application_dials(edges: Edges, given: Given) -> None:
    given("39-serviceentry-external-svc-wildcard-example", ALL_OF_BAR)
    assert edges.told("external-svc-wildcard-example") == set(), "it is done as written"
    told = json.loads(edges.tidegate("explain", "client", "one.bar.com:80", "-o", "json").stdout)
    assert (told["tier"], told["service"]) == ("envoy", "*.bar.com")
    got = edges.curl("http://one.bar.com/")
    assert (got["server"], got["at"]) == ("one.bar.com", SITES["one.bar.com"][0])
    assert got["timeout"] == "3000", "a rule for *.bar.com holds for what its hosts are asked"
    other = edges.curl("http://wikipedia.org/")
    assert (other["server"], other["timeout"]) == ("wikipedia.org", ""), "of other hosts at that port it does not"


@pytest.mark.document("40-serviceentry-unix-domain-socket-example")
def test_a_unix_socket_of_the_node_serves_a_host(edges: Edges, given: Given) -> None:
    given("40-serviceentry-unix-domain-socket-example")
    got = edges.curl("http://example.unix.local/path")
    assert (got["server"], got["host"], got["path"]) == ("socket", "example.unix.local", "/path")


@pytest.mark.api("ServiceEntry.Endpoint.ports")
@pytest.mark.document("41-serviceentry-external-svc-dns")
def test_a_host_that_does_not_exist_is_three_sites(edges: Edges, given: Given) -> None:
    given("41-serviceentry-external-svc-dns")
    seen: set[str] = set()

    def all_three() -> bool:
        got = edges.curl("http://foo.bar.com/baz")
        assert (got["host"], got["path"]) == ("foo.bar.com", "/baz")
        seen.add(got["server"])
        return seen == {"us.foo.bar.com", "uk.foo.bar.com", "in.foo.bar.com"}

    eventually(all_three, "each endpoint answers")
