"""The user's DestinationRules about TLS: what a plain request of a pod is at its server."""

from __future__ import annotations

import pytest
from tests.stories.documents.edges.conftest import Given
from tests.support.edges import Edges
from tests.support.eventually import eventually

FILES = "/etc/tidegate/tls/default/etc/certs"  # what /etc/certs means in a rule of namespace default
FOO = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: foo}
spec:
  hosts: [api.foo.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8443}]
  location: MESH_EXTERNAL
  resolution: DNS
"""


@pytest.fixture
def identity(edges: Edges) -> None:
    """The three files that the documents name."""
    edges.certificates(f"{FILES}/myclientcert.pem", f"{FILES}/client_private_key.pem", "our-client")
    edges.etc.write(f"{FILES}/rootcacerts.pem", edges.authority.certificate)


@pytest.mark.document("33-destinationrule-mtls-mongocluster")
@pytest.mark.usefixtures("identity")
def test_connections_to_the_database_cluster_are_mutual_tls(edges: Edges, given: Given) -> None:
    given("32-serviceentry-external-svc-mongocluster")
    assert edges.curl("http://192.192.192.7:27018/")["tls"] == "", "plain without the rule"
    given("33-destinationrule-mtls-mongocluster")
    got = eventually(lambda: edges.curl("http://192.192.192.7:27018/"), "the files are read")
    assert (got["verified"], got["client"]) == ("SUCCESS", "CN=our-client")


@pytest.mark.api(
    "TLSSettings.TLSmode.MUTUAL",
    "TLSSettings.clientCertificate",
    "TLSSettings.privateKey",
    "TLSSettings.caCertificates",
)
@pytest.mark.document("45-destinationrule-db-mtls")
@pytest.mark.usefixtures("identity")
def test_clients_of_the_database_show_their_certificate(edges: Edges, given: Given) -> None:
    urls = [f"http://mydbserver.prod.svc.cluster.local:{port}/" for port in (80, 27018)]  # HTTP, and bytes
    assert [edges.curl(url)["tls"] for url in urls] == ["", ""], "plain without the rule"
    given("45-destinationrule-db-mtls")
    for url in urls:
        got = eventually(lambda url=url: edges.curl(url), "the files are read")  # type: ignore[misc]
        assert (got["verified"], got["client"]) == ("SUCCESS", "CN=our-client")


@pytest.mark.api("TLSSettings.TLSmode.SIMPLE")
@pytest.mark.document("46-destinationrule-tls-foo")
def test_plain_requests_to_hosts_below_foo_com_are_tls_outside(edges: Edges, given: Given) -> None:
    given(FOO)
    assert eventually(lambda: edges.curl("http://api.foo.com/"), "its name is resolved")["tls"] == ""
    given("46-destinationrule-tls-foo")
    got = eventually(lambda: edges.curl("http://api.foo.com/"), "the certificates of the system are read")
    assert got["tls"].startswith("TLSv1.")
    assert (got["sni"], got["host"]) == ("api.foo.com", "api.foo.com")


@pytest.mark.api("TLSSettings.TLSmode.ISTIO_MUTUAL")
@pytest.mark.document("47-destinationrule-ratings-istio-mtls")
def test_requests_to_ratings_are_mutual_tls_between_the_two_pods(edges: Edges, given: Given) -> None:
    """Whose they are is told to the server by the mutual TLS that ends in front of it, and by nobody else."""
    url = "http://ratings.prod.svc.cluster.local:9080/"
    assert "x-forwarded-client-cert" not in edges.curl(url)["headers"], "plain without the rule"
    given("47-destinationrule-ratings-istio-mtls")
    assert edges.told("ratings-istio-mtls") == set()
    got = eventually(lambda: edges.curl(url), "the pod's certificate is there")
    assert got["version"] == "ratings"
    told = eventually(lambda: edges.curl(url)["headers"].get("x-forwarded-client-cert", ""), "its identity")
    assert told.endswith("URI=spiffe://cluster.local/ns/default/sa/default"), told
