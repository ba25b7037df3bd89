"""What a gateway is told, all of it, is what the real Envoy takes: one refused listener would close a port."""

from __future__ import annotations

from pathlib import Path

from tests.support.certificates import Authority
from tests.support.configs import pod, service
from tests.support.gateways import compiled, gateway, judged, server

from tidegate.config.shapes.server_tls import CIPHERS

AUTHORITY = Authority()
PAIR = AUTHORITY.issue("shop.example")
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: everything, namespace: istio-system}
spec:
  hosts: ["*.example", "[::1]"]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /a}, headers: {x: {regex: "a.*"}}}]
    redirect: {uri: /b, redirectCode: 302}
  - match: [{uri: {exact: /c}}]
    directResponse: {status: 204}
  - route: [{destination: {host: web.default.svc.cluster.local}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
    corsPolicy: {allowOrigins: [{exact: "https://a.example"}]}
    mirror: {host: web.default.svc.cluster.local}
  tls:
  - match: [{sniHosts: ["*.pass.example", one.pass.example]}]
    route:
    - {destination: {host: web.default.svc.cluster.local}, weight: 1}
    - {destination: {host: none.default.svc.cluster.local}, weight: 2}
  tcp:
  - route: [{destination: {host: web.default.svc.cluster.local}}]
""".replace(', "[::1]"', ', "::1"')


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    pins = f"verifyCertificateSpki: ['{'A' * 43}='], verifyCertificateHash: [{'ab' * 32}], subjectAltNames: [a, 'spiffe://b/c']"
    suites = ", ".join(CIPHERS)
    plan = compiled(
        service("web", "http:80", ips="10.96.0.1"),
        pod("web", "app: web", "10.244.0.1"),
        RULE,
        gateway(
            "edge",
            server(80, "HTTP", '"*"', tls="httpsRedirect: true"),
            server(81, "GRPC", '"*"', more='bind: "::1"'),
            server(82, "HTTP", '"*"', more='bind: "unix://@edge"'),
            server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"),
            server(
                443,
                "HTTPS",
                "api.example, '*.api.example'",
                tls=f"mode: MUTUAL, credentialName: shop, {pins}",
                name="api",
            ),
            server(443, "TLS", "'*.pass.example'", tls="mode: PASSTHROUGH", name="pass"),
            server(443, "TLS", "db.example", tls="mode: OPTIONAL_MUTUAL, credentialName: shop", name="db"),
            server(
                443,
                "HTTPS",
                '"*"',
                tls=f"mode: SIMPLE, credentialName: shop, minProtocolVersion: TLSV1_0, cipherSuites: [{suites}]",
                name="rest",
            ),
            server(31400, "REDIS", '"*"'),
        ),
        PAIR.secret("shop", ca=AUTHORITY.certificate, crl=AUTHORITY.revoke(AUTHORITY.issue("gone"))),
    )
    assert not plan.left_out
    assert judged(plan, tmp_path) == ""
