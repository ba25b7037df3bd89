"""Hosts that no address names: any that a client dials, or a wide range, told apart by what the client says."""

from __future__ import annotations

import json
from typing import Any

from tests.stories.documents.edges.conftest import Given
from tests.support.edges import Edges
from tests.support.eventually import eventually

GOOGLE, FACEBOOK = "www.googleapis.com", "api.facebook.com"
ONLY_THE_REGISTRY = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: strict, namespace: default}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["*/*"]}]
"""


def entry(host: str, port: str, more: str = "resolution: NONE") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wide, namespace: default}}
spec: {{hosts: ["{host}"], ports: [{port}], {more}}}
"""


HTTPS = "{number: 443, name: https, protocol: HTTPS}"


def explained(edges: Edges, target: str) -> Any:
    return json.loads(edges.tidegate("explain", "client", target, "-o", "json", check=False).stdout)


def test_where_only_the_registry_may_be_reached_names_under_a_wildcard_are_in_it(edges: Edges, given: Given) -> None:
    assert edges.handshake(f"{FACEBOOK}:443", FACEBOOK) == FACEBOOK
    given(ONLY_THE_REGISTRY, entry("*.googleapis.com", HTTPS))
    eventually(lambda: edges.handshake(f"{GOOGLE}:443", GOOGLE) == GOOGLE, "its name is of the wildcard")
    assert edges.handshake(f"{FACEBOOK}:443", FACEBOOK) == "", "this one is not"
    told = explained(edges, f"{GOOGLE}:443")
    assert (told["tier"], told["service"], told["verdict"]) == ("fastpath", "*.googleapis.com", "allow")
    assert explained(edges, f"{FACEBOOK}:443")["verdict"] != "allow"


def test_http_under_a_wildcard_is_in_the_registry_too_and_other_hosts_get_502(edges: Edges, given: Given) -> None:
    given(ONLY_THE_REGISTRY, entry("*.bar.com", "{number: 80, name: http, protocol: HTTP}"))
    got = eventually(lambda: edges.curl("http://one.bar.com/"), "its name is of the wildcard")
    assert got["server"] == "one.bar.com"
    refused = edges.exec(
        "client", "/usr/bin/curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://wikipedia.org/"
    )
    assert refused.stdout == "502"


def test_routes_by_name_hold_for_a_host_without_addresses(edges: Edges, given: Given) -> None:
    """Whoever asks for one name meets the server of another, wherever the connection was dialled to."""
    facebook = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: facebook, namespace: default}
spec:
  hosts: [facebook.example]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: STATIC
  endpoints: [{address: 198.51.100.5}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: to-facebook, namespace: default}
spec:
  hosts: ["*.googleapis.com"]
  tls:
  - match: [{sniHosts: [www.googleapis.com]}]
    route: [{destination: {host: facebook.example}}]
"""
    assert edges.handshake(f"{GOOGLE}:443", GOOGLE) == GOOGLE
    given(entry("*.googleapis.com", HTTPS), facebook)
    assert edges.handshake(f"{GOOGLE}:443", GOOGLE) == FACEBOOK
    assert edges.handshake("api.dropboxapi.com:443", "api.dropboxapi.com") == "api.dropboxapi.com", "no host of it"


def test_a_range_of_five_hundred_addresses_leads_to_the_endpoints_of_its_host(edges: Edges, given: Given) -> None:
    assert edges.curl("http://us.foo.bar.com:8080/")["at"] == "198.51.100.7"
    more = "addresses: [198.51.100.0/23], resolution: STATIC, endpoints: [{address: 198.51.100.9, ports: {tcp: 7080}}]"
    given(entry("wide.example", "{number: 8080, name: tcp, protocol: TCP}", more))
    assert edges.told("wide") == set()
    assert edges.curl("http://us.foo.bar.com:8080/")["at"] == "198.51.100.9"
    assert edges.curl("http://198.51.101.77:8080/")["at"] == "198.51.100.9", "nobody is at that address"
    assert edges.curl("http://uk.foo.bar.com:9080/")["at"] == "198.51.100.8", "another port is none of it"
    assert explained(edges, "198.51.101.77:8080")["service"] == "wide.example"
