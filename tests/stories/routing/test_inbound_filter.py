"""EnvoyFilter seen from the pods that it is for as servers: what comes to them passes Envoy first."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.lab import ASK, PROBE, Lab

HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: server}
spec:
  workloadSelector: {labels: {app: web, version: v1}}
  configPatches:
"""
LUA = """
  - applyTo: HTTP_FILTER
    match: {{context: SIDECAR_INBOUND, listener: {{portNumber: {port}}}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: my.lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {{inline_string: '{code}'}}
"""
SIGNED = 'function envoy_on_request(handle) handle:headers():add("x-lua", "was here") end'
ANSWER = """
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND, routeConfiguration: {name: "inbound|8080||"}}
    patch:
      operation: INSERT_FIRST
      value: {name: mine, match: {path: /mine}, direct_response: {status: 418}}
"""
# Bytes, of which Envoy knows no more than who sends them.
DATABASE = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432, targetPort: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec:
  containers:
  - name: db
    command: ["/usr/bin/python3", "%(probe)s", "serve", "9000"]
    readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1, timeoutSeconds: 60}
"""
NOT_FROM = """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: db}
spec:
  workloadSelector: {labels: {app: db}}
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {portNumber: 5432, filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: not.from
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC
          stat_prefix: not.from
          rules:
            action: DENY
            policies:
              one:
                permissions: [{any: true}]
                principals: [{direct_remote_ip: {address_prefix: %(address)s, prefix_len: 32}}]
"""


@pytest.fixture
def apply(web_lab: Lab) -> Iterator[Callable[..., None]]:
    """Apply documents; removed afterwards, and then nothing is refused any more."""

    def applied(text: str, *, good: bool = True) -> None:
        web_lab.apply(text, check=good)

    yield applied
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    eventually(lambda: not web_lab.status()["envoy"]["xds"]["nacks"], "nothing is refused any more")


@pytest.fixture(scope="module")
def addresses(web_lab: Lab) -> dict[tuple[str, str], str]:
    """By name without what makes it unique, and family."""
    return {
        (name.removeprefix("default/")[: len("web-v1")], "6" if ":" in address else "4"): address
        for name, pod in web_lab.pods().items()
        for address in pod["ips"]
    }


def url(address: str, path: str = "") -> str:
    """Of a server."""
    return f"http://[{address}]:8080/{path}" if ":" in address else f"http://{address}:8080/{path}"


def from_the_node(lab: Lab, address: str) -> dict[str, Any]:
    """What a server saw of a request of the node, which is in no mesh, on a connection of its own."""
    command = (sys.executable, ASK, url(address), "--family", "6" if ":" in address else "4")
    done = lab.tidegate("lab", "node-exec", "node1", "--", *command)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["status"] == 200, answer
    seen: dict[str, Any] = answer["body"]
    return seen


Addresses = dict[tuple[str, str], str]


@pytest.mark.parametrize(("family", "source"), [("4", "127.0.0.6"), ("6", "::1")])
def test_a_filter_for_a_server_sees_what_comes_from_wherever(
    web_lab: Lab, apply: Callable[..., None], addresses: Addresses, family: str, source: str
) -> None:
    v1, v2 = addresses["web-v1", family], addresses["web-v2", family]
    plain = from_the_node(web_lab, v1)
    assert "x-lua" not in plain["headers"]
    apply(HEAD + LUA.format(port=80, code=SIGNED))
    seen = from_the_node(web_lab, v1)
    assert seen["headers"]["x-lua"] == "was here"
    assert (seen["peer"], seen["headers"]["x-forwarded-for"]) == (source, plain["peer"])
    assert from_the_node(web_lab, v2)["peer"] == plain["peer"], "another pod is left alone"


@pytest.mark.api("EnvoyFilter.ListenerMatch.ListenerType.SIDECAR_INBOUND")
def test_pods_of_the_mesh_dial_anew_and_meet_the_filter(
    web_lab: Lab, apply: Callable[..., None], addresses: Addresses
) -> None:
    def seen() -> dict[str, Any]:
        answer: dict[str, Any] = web_lab.ask("client", url(addresses["web-v1", "4"]))["body"]
        return answer

    before = seen()
    assert before["peer"] == addresses["client", "4"]
    apply(HEAD + LUA.format(port=80, code=SIGNED))
    met = eventually(lambda: (found := seen())["headers"].get("x-lua") and found, "the client's Envoy dials anew")
    assert met["headers"]["x-forwarded-for"] == before["peer"]
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    gone = "straight when the filter is gone, on whichever of Envoy's threads"
    eventually(lambda: {seen()["peer"] for _ in range(3)} == {before["peer"]}, gone)


def test_no_request_fails_while_filters_come_and_go(
    web_lab: Lab, apply: Callable[..., None], addresses: Addresses
) -> None:
    v1 = addresses["web-v1", "4"]
    load = web_lab.load("client", "http://web/", "--rate", "100")
    load.starts()
    for word in ("was", "is"):
        apply(HEAD + LUA.format(port=8080, code=SIGNED.replace("was", word)))
        signed = f"{word} here"
        eventually(
            lambda signed=signed: from_the_node(web_lab, v1)["headers"].get("x-lua") == signed,  # type: ignore[misc]
            "it is in force",
        )
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    eventually(lambda: from_the_node(web_lab, v1)["peer"] != "127.0.0.6", "it is gone")
    counted = load.stop()
    assert counted["failed"] == 0, counted["failures"]
    assert set(counted["statuses"]) == {"200"}


def test_a_patch_that_envoy_refuses_is_named_and_requests_go_on(
    web_lab: Lab, apply: Callable[..., None], addresses: Addresses
) -> None:
    apply(HEAD + LUA.format(port=80, code="function (") + ANSWER, good=False)
    v1 = addresses["web-v1", "4"]
    mine = ("lab", "node-exec", "node1", "--", sys.executable, ASK, url(v1, "mine"))
    eventually(lambda: json.loads(web_lab.tidegate(*mine).stdout)["status"] == 418, "what is good is in force")
    assert "x-lua" not in from_the_node(web_lab, v1)["headers"]
    nacks = {nack["name"]: nack["detail"] for nack in web_lab.status()["envoy"]["xds"]["nacks"]}
    assert set(nacks) == {"check|EnvoyFilter default/server patch 0"}


def test_a_filter_of_connections_knows_the_client(
    web_lab: Lab, apply: Callable[..., None], addresses: Addresses
) -> None:
    told = {"probe": PROBE, "address": addresses["client", "4"]}
    apply(DATABASE % told)
    assert web_lab.dial("client", "db", 5432)["server"]["client"] == told["address"], "straight"
    apply((DATABASE + NOT_FROM) % told)
    asked = ("/usr/bin/python3", PROBE, "dial", "db", "5432")
    eventually(lambda: '"server"' not in web_lab.exec("client", *asked, check=False).stdout, "this one gets nowhere")
    assert web_lab.dial("deploy/web-v2", "db", 5432)["server"]["client"] == "127.0.0.6"
