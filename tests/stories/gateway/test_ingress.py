"""The way into the mesh: curl on this machine, a gateway in a pod, services behind it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.certificates import Authority, Pair, secret
from tests.support.configs import destination_rule
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address

INGRESS = ROOT / "samples" / "gateway" / "ingressgateway.yaml"
STREAMS = ROOT / "tests" / "support" / "streams.py"
AUTHORITY = Authority()
SHOP, API = AUTHORITY.issue("shop.example"), AUTHORITY.issue("api.example")
SIMPLE = "mode: SIMPLE, credentialName: {}"
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{hosts}]
  gateways: [istio-system/edge]
{routes}
"""
WEB = """
  http:
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: web, subset: v2}}]
  - route: [{destination: {host: web, subset: v1}}]
"""
TLS_SERVER = """
apiVersion: v1
kind: Service
metadata: {{name: own-tls}}
spec:
  selector: {{app: own-tls}}
  ports: [{{name: tls, port: 443, targetPort: 8443}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: own-tls, labels: {{app: own-tls}}}}
spec:
  containers:
  - name: own-tls
    command: [/usr/bin/openssl, s_server, -accept, "8443", -cert, {directory}/own.crt, -key, {directory}/own.key, -www]
    readinessProbe: {{tcpSocket: {{port: 8443}}, periodSeconds: 1, timeoutSeconds: 60}}
"""

Apply = Callable[..., object]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("ingress")
    lab.up(MANIFESTS / "web.yaml", MANIFESTS / "streams.yaml", INGRESS)
    yield lab
    lab.down(content=True)


@pytest.fixture(scope="module")
def address(lab: Lab) -> str:
    return external_address(lab, "istio-ingressgateway")


@pytest.fixture
def apply(lab: Lab) -> Iterator[Apply]:
    """Apply documents; removed afterwards."""
    yield lambda *texts: lab.apply("\n---\n".join(texts))
    lab.delete(lab.run_dir / "applied-by-test.yaml")


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    return keep(tmp_path, "ca.crt", AUTHORITY.certificate)


def keep(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def identity(directory: Path, pair: Pair) -> tuple[str | Path, ...]:
    """Options of curl by which a client shows a certificate."""
    return "--cert", keep(directory, "c.crt", pair.certificate), "--key", keep(directory, "c.key", pair.key)


def rule(hosts: str, routes: str = WEB, name: str = "edge") -> str:
    return RULE.format(hosts=hosts, name=name, routes=routes)


def gateway_dir(lab: Lab) -> Path:
    (found,) = lab.run_dir.glob("pods/istio-system_istio-ingressgateway-*/g")
    return found


def test_a_request_from_outside_reaches_the_service_that_the_rule_names(lab: Lab, address: str, apply: Apply) -> None:
    assert curl(address, "http://shop.example/").status == 0, "no Gateway, no port"
    apply(gateway("edge", server(80, "HTTP", "shop.example")), rule("shop.example"))
    assert curl(address, "http://shop.example/").json["version"] == "v1"
    assert curl(address, "http://shop.example/v2").json["version"] == "v2"
    assert curl(address, "http://other.example/").status == 404
    got = curl(address, "http://shop.example/", "--http2-prior-knowledge")
    assert (got.status, got.version) == (200, "2"), "its server speaks HTTP/1.1"


def test_what_a_stranger_says_of_himself_is_not_believed(address: str, apply: Apply) -> None:
    apply(gateway("edge", server(80, "HTTP", '"*"')), rule('"*"'))
    claims = ("x-forwarded-client-cert: Subject=boss", "x-envoy-upstream-rq-timeout-ms: 1", "x-forwarded-proto: https")
    options = [part for claim in claims for part in ("-H", claim)]
    headers = curl(address, "http://shop.example/", *options).json["headers"]
    assert "x-forwarded-client-cert" not in headers
    assert headers["x-forwarded-proto"] == "http"
    assert headers.get("x-envoy-expected-rq-timeout-ms") != "1"


def test_plain_requests_are_sent_to_https_where_each_host_has_its_certificate(
    address: str, apply: Apply, trusted: Path
) -> None:
    apply(
        gateway(
            "edge",
            server(80, "HTTP", "shop.example, api.example", tls="httpsRedirect: true"),
            server(443, "HTTPS", "shop.example", tls=SIMPLE.format("shop"), name="shop"),
            server(443, "HTTPS", "api.example", tls=SIMPLE.format("api"), name="api"),
        ),
        SHOP.secret("shop"),
        API.secret("api"),
        rule("shop.example, api.example"),
    )
    sent = curl(address, "http://shop.example/v2")
    assert (sent.status, sent.headers["location"]) == (301, "https://shop.example/v2")
    for host in ("shop.example", "api.example"):
        got = curl(address, f"https://{host}/v2", "--cacert", trusted)
        assert (got.status, got.version) == (200, "2"), got.error
        assert got.json["headers"]["x-forwarded-proto"] == "https"
    assert curl(address, "https://other.example/", "-k").status == 0, "nobody has a certificate for that name"


@pytest.mark.api("Server.TLSOptions.TLSmode.MUTUAL")
@pytest.mark.parametrize("mode", ["MUTUAL", "OPTIONAL_MUTUAL"])
def test_clients_show_who_they_are(address: str, apply: Apply, trusted: Path, tmp_path: Path, mode: str) -> None:
    good, gone, foreign = AUTHORITY.issue("good"), AUTHORITY.issue("gone"), Authority("foreign").issue("good")
    apply(
        gateway("edge", server(443, "HTTPS", "shop.example", tls=f"mode: {mode}, credentialName: shop")),
        SHOP.secret("shop", ca=AUTHORITY.certificate, crl=AUTHORITY.revoke(gone)),
        rule("shop.example"),
    )
    url = "https://shop.example/"
    seen = curl(address, url, "--cacert", trusted, *identity(tmp_path, good))
    assert seen.status == 200, seen.error
    assert 'Subject="CN=good"' in seen.json["headers"]["x-forwarded-client-cert"]
    for other in (gone, foreign):
        assert curl(address, url, "--cacert", trusted, *identity(tmp_path, other)).status == 0
    assert curl(address, url, "--cacert", trusted).status == (0 if mode == "MUTUAL" else 200)


def test_lists_of_revoked_certificates_are_asked_all_the_way_up(
    address: str, apply: Apply, trusted: Path, tmp_path: Path
) -> None:
    """As for pods: who gives a list gives one of each authority between a certificate and the one that is trusted."""
    below = Authority("below", above=AUTHORITY)
    client = below.issue("client")
    shown = replace(client, certificate=client.certificate + below.certificate)
    edge = gateway("edge", server(443, "HTTPS", "shop.example", tls="mode: MUTUAL, credentialName: shop"))

    def answered(crl: bytes) -> int:
        apply(edge, SHOP.secret("shop", ca=AUTHORITY.certificate, crl=crl), rule("shop.example"))
        return curl(address, "https://shop.example/", "--cacert", trusted, *identity(tmp_path, shown)).status

    assert answered(b"") == 200
    assert answered(below.revoke() + AUTHORITY.revoke()) == 200
    assert answered(below.revoke()) == 0, "nobody says whether the authority itself was taken back"
    assert answered(below.revoke() + AUTHORITY.revoke(below.own)) == 0
    assert answered(below.revoke(client) + AUTHORITY.revoke()) == 0


def test_a_new_certificate_ends_no_connection(address: str, apply: Apply, trusted: Path) -> None:
    edge = gateway("edge", server(443, "HTTPS", "shop.example", tls=SIMPLE.format("shop")))
    apply(edge, SHOP.secret("shop"), rule("shop.example"))
    context = ssl.create_default_context(cafile=str(trusted))

    def connect() -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("shop.example", context=context, timeout=HANG_SECONDS)
        plain = socket.create_connection((address, 443), HANG_SECONDS)
        connection.sock = context.wrap_socket(plain, server_hostname="shop.example")
        return connection

    def ask(connection: http.client.HTTPSConnection) -> int:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status

    def certificate(connection: http.client.HTTPSConnection) -> bytes | None:
        assert isinstance(connection.sock, ssl.SSLSocket)
        return connection.sock.getpeercert(binary_form=True)

    before = connect()
    assert ask(before) == 200
    apply(edge, AUTHORITY.issue("shop.example").secret("shop"), rule("shop.example"))
    after = connect()
    assert certificate(after) != certificate(before)
    assert (ask(before), ask(after)) == (200, 200)
    before.close()
    after.close()


def test_tls_that_is_not_ended_here_goes_by_its_name_and_tcp_by_its_port(
    lab: Lab, address: str, apply: Apply, trusted: Path
) -> None:
    own = AUTHORITY.issue("own.example")
    keep(lab.run_dir, "own.crt", own.certificate)
    keep(lab.run_dir, "own.key", own.key)
    routes = """
  tls:
  - match: [{port: 443, sniHosts: [own.example]}]
    route: [{destination: {host: own-tls, port: {number: 443}}}]
  tcp:
  - match: [{port: 31400}]
    route: [{destination: {host: streams, port: {number: 81}}}]
"""
    apply(
        TLS_SERVER.format(directory=lab.run_dir),
        gateway("edge", server(443, "TLS", '"*.example"', tls="mode: PASSTHROUGH"), server(31400, "TCP", '"*"')),
        rule('"*.example"', routes),
    )
    got = curl(address, "https://own.example/", "--cacert", trusted, "--http1.0")
    assert got.status == 200, got.error
    assert curl(address, "https://other.example/", "-k").status == 0
    sent = subprocess.run(
        [sys.executable, STREAMS, "upload", f"http://{address}:31400/upload", "100000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(sent.stdout)["server"]["bytes"] == 100_000
    eventually(lambda: counted(lab, "connections_closed", "streams") == 1, "the gateway tells of it")
    assert counted(lab, "received_bytes", "streams") > 100_000
    assert counted(lab, "connections_opened", "own-tls") == counted(lab, "connections_closed", "own-tls") == 1


def counted(lab: Lab, what: str, service: str) -> float:
    """What Istio's metrics say of TCP from the gateway to a service of the default namespace."""
    text = lab.tidegate("metrics", "--run-dir", gateway_dir(lab)).stdout
    wanted = (
        f"istio_tcp_{what}_total{{",
        'source_workload="istio-ingressgateway"',
        f'destination_workload="{service}"',
        f'destination_service="{service}.default.svc.cluster.local"',
    )
    found = [line for line in text.splitlines() if all(part in line for part in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_websockets_go_through(address: str, apply: Apply) -> None:
    routes = "  http: [{route: [{destination: {host: streams, port: {number: 80}}}]}]"
    apply(gateway("edge", server(80, "HTTP", '"*"')), rule('"*"', routes))
    done = subprocess.run(
        [sys.executable, STREAMS, "websocket", f"http://{address}/ws", "300000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"sizes": [0, 1, 300_000], "said": "still there?"}


def test_status_and_explain_say_what_is_left_out_and_why(lab: Lab, apply: Apply) -> None:
    apply(
        gateway(
            "edge",
            server(443, "HTTPS", "shop.example", tls=SIMPLE.format("shop")),
            server(443, "HTTPS", "late.example", tls=SIMPLE.format("late"), name="late"),
        ),
        SHOP.secret("shop"),
        rule("shop.example, late.example"),
    )
    status = lab.tidegate("status", "--run-dir", gateway_dir(lab), check=False)
    assert status.returncode == 1
    assert "Secret late is not in the namespace of the workload" in status.stdout
    good = lab.tidegate("explain", "--run-dir", gateway_dir(lab), "https://shop.example/v2", "-o", "json")
    found = json.loads(good.stdout)
    assert (found["verdict"], found["destinations"][0]["subset"]) == ("allow", "v2")
    late = lab.tidegate("explain", "--run-dir", gateway_dir(lab), "https://late.example/", check=False)
    assert late.returncode == 1
    assert "left out: Secret late" in late.stdout


def test_a_secret_for_servers_that_is_missing_is_named_and_nothing_is_sent_in_plain_text(
    lab: Lab, address: str, apply: Apply
) -> None:
    own = AUTHORITY.issue("own.example")
    keep(lab.run_dir, "own.crt", own.certificate)
    keep(lab.run_dir, "own.key", own.key)
    documents = (
        TLS_SERVER.format(directory=lab.run_dir),
        gateway("edge", server(80, "HTTP", "own.example")),
        rule("own.example", "  http: [{route: [{destination: {host: own-tls, port: {number: 443}}}]}]"),
        destination_rule("own-tls", "own-tls", "trafficPolicy: {tls: {mode: SIMPLE, credentialName: servers}}"),
    )
    apply(*documents)
    assert curl(address, "http://own.example/").status == 503
    status = lab.tidegate("status", "--run-dir", gateway_dir(lab), check=False)
    assert status.returncode == 1
    assert "credentialName servers: Secret servers is not in the namespace of the workload" in status.stdout
    assert "DestinationRule default/own-tls" in status.stdout
    why = lab.tidegate("explain", "--run-dir", gateway_dir(lab), "http://own.example/", check=False)
    assert (why.returncode, "503: Secret servers is not" in why.stdout) == (1, True)
    apply(*documents, secret("servers", {"ca.crt": AUTHORITY.certificate}))
    got = curl(address, "http://own.example/")
    assert (got.status, "Ciphers" in got.body) == (200, True)
    assert lab.tidegate("status", "--run-dir", gateway_dir(lab)).returncode == 0


def test_the_way_out_of_the_mesh_leads_through_an_egress_gateway(lab: Lab, apply: Apply) -> None:
    text = (
        INGRESS.read_text().replace("ingressgateway", "egressgateway").replace("type: LoadBalancer", "type: ClusterIP")
    )
    host = "web.default.svc.cluster.local"
    apply(
        text,
        gateway("out", server(80, "HTTP", host), selector="istio: egressgateway"),
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: out}}
spec:
  hosts: [{host}]
  gateways: [mesh, istio-system/out]
  http:
  - match: [{{gateways: [mesh], port: 80}}]
    route: [{{destination: {{host: istio-egressgateway.istio-system.svc.cluster.local, port: {{number: 80}}}}}}]
  - match: [{{gateways: [istio-system/out], port: 80}}]
    route: [{{destination: {{host: web, subset: v2}}}}]
    headers: {{request: {{set: {{x-went: out}}}}}}
""",
    )
    for _ in range(4):
        got = lab.ask("client", f"http://{host}/")
        assert (got["body"]["version"], got["body"]["headers"]["x-went"]) == ("v2", "out")
