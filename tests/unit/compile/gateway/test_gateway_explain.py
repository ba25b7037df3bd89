"""explain at a gateway: the way of a request, in the order in which it is decided, and why it ends where it does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.configs import config_of, pod, service
from tests.support.gateways import LABELS, gateway, server

from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.gateway.explain import explain
from tidegate.errors import Rejected
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.http import HttpRequest

PAIR = Authority().issue("shop.example")
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: istio-system}
spec:
  hosts: [shop.example, pass.example]
  gateways: [edge]
  http:
  - name: jason
    match: [{headers: {user: {exact: jason}}, uri: {prefix: /a}}]
    route: [{destination: {host: web.default.svc.cluster.local}}]
  - name: nobody
    match: [{uri: {prefix: /n}}]
    route: [{destination: {host: none.default.svc.cluster.local}}]
  - name: moved
    match: [{uri: {prefix: /m}}]
    redirect: {uri: /a}
  tls:
  - match: [{sniHosts: [pass.example]}]
    route: [{destination: {host: web.default.svc.cluster.local}}]
"""


def asked(url: str, **headers: str) -> dict[str, Any]:
    config = config_of(
        service("web", "http:80", ips="10.96.0.1"),
        pod("web", "app: web", "10.244.0.1"),
        RULE,
        gateway(
            "edge",
            server(80, "HTTP", "shop.example", tls="httpsRedirect: true"),
            server(81, "HTTP", "shop.example", name="plain"),
            server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"),
            server(443, "HTTPS", "late.example", tls="mode: SIMPLE, credentialName: late", name="late"),
            server(443, "TLS", "pass.example", tls="mode: PASSTHROUGH", name="pass"),
        ),
        PAIR.secret("shop"),
    )
    facts, workload = join(config, ()), GatewayWorkload("istio-system", LABELS)
    return explain(facts, compile_gateway(facts, workload), workload, url, HttpRequest(headers=headers))


def test_each_route_says_why_it_does_not_fit() -> None:
    got = asked("https://shop.example/a?x=1", user="jason")
    assert (got["verdict"], got["rule"]["route"]) == ("allow", "jason")
    assert got["destinations"][0]["endpoints"] == ["10.244.0.1:80 default/web"]
    other = asked("https://shop.example/x")
    assert other["reason"] == "404: no route fits"
    tried = [hop["result"] for hop in other["hops"] if "jason" in hop["step"]]
    assert tried == ["path /x does not start with '/a'"]


@pytest.mark.parametrize(
    ("url", "verdict", "part"),
    [
        ("http://shop.example/a", "allow", "redirected to https"),
        ("http://shop.example:81/m", "allow", "answered by the gateway"),
        ("http://shop.example:81/n", "unavailable", "503"),
        ("http://other.example:81/", "deny", "404: no VirtualService here has other.example:81"),
        (
            "http://shop.example:9/",
            "deny",
            "no server of any Gateway for this workload is at 9; there are: 80, 81, 443",
        ),
        ("https://shop.example:81/", "deny", "plain HTTP"),
        ("http://shop.example:443/", "deny", "the port is TLS"),
        ("https://late.example/", "deny", "left out: Secret late"),
        ("https://other.example/", "deny", "no server of the port is for the name other.example"),
        ("tls://pass.example", "allow", ""),
    ],
)
def test_where_a_request_ends(url: str, verdict: str, part: str) -> None:
    got = asked(url)
    assert got["verdict"] == verdict, got
    assert part in got["reason"]


def test_what_is_no_url() -> None:
    for text in ("shop.example", "ftp://shop.example", "http://shop.example:99999/"):
        with pytest.raises(Rejected):
            asked(text)
