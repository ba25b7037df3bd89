"""The user's Gateways and what is bound to them, as clients on this machine see it: curl, openssl, a plain socket."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
from tests.stories.documents.edges.conftest import Given
from tests.support.edges import Edges, subject
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.outside import curl, external_address

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: around}}
spec:
  hosts: [{hosts}]
  gateways: [{gateway}]
  {routes}
"""
TO_REVIEWS = "http: [{route: [{destination: {host: reviews.prod.svc.cluster.local, port: {number: 9080}}}]}]"
TO_BYTES = "tcp: [{route: [{destination: {host: reviews.prod.svc.cluster.local, port: {number: 9080}}}]}]"
MYGATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mygateway}
spec:
  selector: {app: my-tls-ingress-gateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: ["*.bookinfo.com"]
    tls: {mode: PASSTHROUGH}
"""


@pytest.fixture
def trusted(edges: Edges, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(edges.authority.certificate)
    return path


def rule(gateway: str, routes: str, hosts: str = '"*"') -> str:
    return RULE.format(gateway=gateway, routes=routes, hosts=hosts)


def bytes_at(address: str, port: int) -> str:
    """What a server of HTTP behind a port of bytes says; nothing if nobody listens."""
    try:
        with socket.create_connection((address, port), HANG_SECONDS) as connection:
            connection.sendall(b"GET /bytes HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    except OSError:
        return ""


@pytest.mark.api("Gateway.servers", "Gateway.selector", "Server.port", "Server.hosts", "Port.number", "Port.protocol")
@pytest.mark.document("01-gateway-httpbin-gateway")
def test_httpbin_gateway_opens_port_80_for_every_host(edges: Edges, given: Given) -> None:
    address = external_address(edges, "my-gateway-controller")
    given(rule("httpbin-gateway", TO_REVIEWS))
    assert curl(address, "http://any.example/").status == 0, "no Gateway, no port"
    given("01-gateway-httpbin-gateway")
    for host in ("any.example", "httpbin.example"):
        assert curl(address, f"http://{host}/").json["version"] == "reviews"


@pytest.mark.api("VirtualService.gateways")
@pytest.mark.document("02-virtualservice-httpbin")
def test_httpbin_is_reached_through_its_gateway_at_the_port_of_the_service(edges: Edges, given: Given) -> None:
    address = external_address(edges, "my-gateway-controller")
    given("01-gateway-httpbin-gateway")
    assert curl(address, "http://any.example/").status == 404, "no VirtualService, no route"
    given("02-virtualservice-httpbin")
    got = curl(address, "http://any.example/status/200?a=b")
    assert (got.json["version"], got.json["path"]) == ("httpbin", "/status/200?a=b")
    inside = edges.ask("client", "http://httpbin:8000/")
    assert inside["body"]["version"] == "httpbin", "the rule is the gateway's, not the mesh's"


@pytest.mark.api(
    "Server.tls",
    "Server.TLSOptions.httpsRedirect",
    "Server.TLSOptions.mode",
    "Server.TLSOptions.TLSmode.SIMPLE",
    "Server.TLSOptions.serverCertificate",
    "Server.TLSOptions.privateKey",
)
@pytest.mark.document("17-gateway-my-gateway")
def test_my_gateway_redirects_ends_tls_and_forwards_by_its_four_servers(
    edges: Edges, given: Given, trusted: Path
) -> None:
    address = external_address(edges, "my-gateway-controller")
    hosts = "uk.bookinfo.com", "eu.bookinfo.com"
    edges.certificates("/etc/certs/servercert.pem", "/etc/certs/privatekey.pem", *hosts)
    given("17-gateway-my-gateway", rule("my-gateway", f"{TO_REVIEWS}\n  {TO_BYTES}"))
    for host in hosts:
        sent = curl(address, f"http://{host}/reviews?a=b")
        assert (sent.status, sent.headers["location"]) == (301, f"https://{host}/reviews?a=b")
        url = f"https://{host}/reviews"
        eventually(lambda url=url: curl(address, url, "-k").status, "the certificate is read from its file")  # type: ignore[misc]
        got = curl(address, url, "--cacert", trusted)
        assert (got.json["version"], got.json["headers"]["x-forwarded-proto"]) == ("reviews", "https")
    assert curl(address, "https://other.bookinfo.com/", "-k").status == 0, "the server has two hosts"
    assert curl(address, "http://anything.example:9080/").json["version"] == "reviews"
    assert json.loads(bytes_at(address, 2379).partition("\r\n\r\n")[2])["path"] == "/bytes"


@pytest.mark.document("29-gateway-my-ingress")
def test_my_ingress_speaks_http_2(edges: Edges, given: Given) -> None:
    address = external_address(edges, "my-ingress-gateway")
    given("29-gateway-my-ingress", rule("my-ingress", TO_REVIEWS))
    for options, version in ((("--http2-prior-knowledge",), "2"), (("--http1.1",), "1.1")):
        got = curl(address, "http://any.example/", *options)
        assert (got.json["version"], got.version) == ("reviews", version)


@pytest.mark.document("30-gateway-my-tcp-ingress")
def test_my_tcp_ingress_forwards_what_comes_in_at_its_port(edges: Edges, given: Given) -> None:
    address = external_address(edges, "my-tcp-ingress-gateway")
    given("30-gateway-my-tcp-ingress", rule("my-tcp-ingress", TO_BYTES))
    assert json.loads(bytes_at(address, 27018).partition("\r\n\r\n")[2])["version"] == "reviews"


@pytest.mark.document("31-gateway-my-tls-ingress")
def test_my_tls_ingress_shows_the_certificate_of_the_file(edges: Edges, given: Given, trusted: Path) -> None:
    address = external_address(edges, "my-tls-ingress-gateway")
    given(rule("my-tls-ingress", TO_REVIEWS), "31-gateway-my-tls-ingress")
    (gateway,) = edges.run_dir.glob("pods/istio-system_my-tls-ingress-gateway/g")
    told = edges.tidegate("status", "--run-dir", gateway, check=False)
    assert told.returncode == 1
    assert "/etc/certs/server.pem does not exist" in told.stdout
    edges.certificates("/etc/certs/server.pem", "/etc/certs/privatekey.pem", "shop.example")
    url = "https://shop.example/"
    eventually(lambda: curl(address, url, "--cacert", trusted).status == 200, "the certificate is there")
    assert curl(address, url, "--cacert", trusted).json["version"] == "reviews"
    seen = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address}:443", "-servername", "any.example"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert subject(seen.stdout) == "shop.example", "one certificate for every host"


@pytest.mark.api("Server.TLSOptions.TLSmode.PASSTHROUGH", "TLSMatchAttributes.gateways")
@pytest.mark.document("44-virtualservice-bookinfo-sni")
def test_tls_that_passes_a_gateway_goes_by_the_name_that_is_asked_for(
    edges: Edges, given: Given, trusted: Path
) -> None:
    address = external_address(edges, "my-tls-ingress-gateway")
    given(MYGATEWAY, "44-virtualservice-bookinfo-sni")

    def met(sni: str) -> str:
        seen = subprocess.run(
            ["openssl", "s_client", "-connect", f"{address}:443", "-servername", sni, "-CAfile", trusted],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return subject(seen.stdout)

    for name in ("login.bookinfo.com", "reviews.bookinfo.com"):
        assert met(name) == name, "the certificate is the server's own"
    assert met("other.bookinfo.com") == ""
