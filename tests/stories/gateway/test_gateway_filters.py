"""EnvoyFilter at a gateway, seen by who comes to it: a patch that Envoy refuses takes no other with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.eventually import eventually
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address

INGRESS = ROOT / "samples" / "gateway" / "ingressgateway.yaml"
EDGE = gateway("edge", server(80, "HTTP", '"*"'))
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
  - route: [{destination: {host: web, subset: v1}}]
"""
HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: edge, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
"""
LUA = """
  - applyTo: HTTP_FILTER
    match: {{context: GATEWAY}}
    patch:
      operation: INSERT_FIRST
      value:
        name: {name}
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {{inline_string: '{code}'}}
"""
GOOD = LUA.format(name="good", code='function envoy_on_request(h) h:headers():add("x-good", "1") end')
BAD = LUA.format(name="bad", code="function (")
ANSWER = """
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY}
    patch:
      operation: INSERT_FIRST
      value: {name: mine, match: {path: /mine}, direct_response: {status: 418}}
"""
# Above what Envoy takes for a percentage, and what is no name of a header.
BAD_CLUSTER = """
  - applyTo: CLUSTER
    match: {context: GATEWAY}
    patch: {operation: MERGE, value: {outlier_detection: {max_ejection_percent: 101}}}
"""
BAD_ROUTE = """
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY}
    patch: {operation: MERGE, value: {request_headers_to_add: [{header: {key: ":bad name", value: x}}]}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("edgefilter")
    lab.up(MANIFESTS / "web.yaml", INGRESS)
    yield lab
    lab.down()


def refused(lab: Lab) -> dict[str, str]:
    """What is not in force at the gateway, by item, with the reason."""
    (directory,) = lab.run_dir.glob("pods/istio-system_istio-ingressgateway-*/g")
    (told,) = json.loads(lab.tidegate("status", "--run-dir", directory, "-o", "json", check=False).stdout)["nodes"]
    return {failure["item"]: failure["reason"] for failure in told["appliers"]["envoy"]["failures"]}


def test_a_patch_that_envoy_refuses_is_left_out_and_named_and_the_others_are_in_force(lab: Lab) -> None:
    address = external_address(lab, "istio-ingressgateway")
    lab.apply("\n---\n".join((EDGE, RULE)))
    assert "x-good" not in curl(address, "http://shop.example/").json["headers"]
    lab.apply("\n---\n".join((EDGE, RULE, HEAD + BAD + GOOD + ANSWER + BAD_CLUSTER + BAD_ROUTE)), check=False)
    expected = {f"check|EnvoyFilter istio-system/edge patch {n}" for n in (0, 3, 4)}
    eventually(lambda: set(refused(lab)) == expected, "the three are named, and nothing else")
    assert "function" in refused(lab)["check|EnvoyFilter istio-system/edge patch 0"]
    assert curl(address, "http://shop.example/").json["headers"].get("x-good") == "1"
    assert curl(address, "http://shop.example/mine").status == 418
    lab.apply("\n---\n".join((EDGE, RULE, HEAD + GOOD)))
    eventually(lambda: not refused(lab), "nothing is refused any more")
    assert curl(address, "http://shop.example/mine").status == 200
