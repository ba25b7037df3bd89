"""EnvoyFilter seen from the pods that it is for, and from one that it is not for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab

HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
"""
# The example of Istio 1.0's documents, for the side that a client has.
LEGACY = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: client}
spec:
  workloadLabels:
    app: client
  filters:
  - listenerMatch:
      portNumber: 80
      listenerType: SIDECAR_OUTBOUND
    filterName: envoy.lua
    filterType: HTTP
    filterConfig:
      inlineCode: |
        function envoy_on_request(handle)
          handle:headers():add("x-lua", "was here")
        end
"""
LUA = """
  - applyTo: HTTP_FILTER
    match: {{context: SIDECAR_OUTBOUND}}
    patch:
      operation: INSERT_FIRST
      value:
        name: {name}
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {{inline_string: '{code}'}}
"""
ANSWER = """
  - applyTo: HTTP_ROUTE
    match: {routeConfiguration: {portNumber: 80}}
    patch:
      operation: INSERT_FIRST
      value: {name: mine, match: {path: /mine}, direct_response: {status: 418}}
"""
OWN_CLUSTER = """
  - applyTo: CLUSTER
    patch:
      operation: ADD
      value:
        name: mine
        type: STATIC
        connect_timeout: 5s
        load_assignment:
          cluster_name: mine
          endpoints:
          - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: 8080}}}}}}}}]
  - applyTo: HTTP_ROUTE
    match: {{routeConfiguration: {{portNumber: 80}}}}
    patch:
      operation: INSERT_FIRST
      value: {{name: mine, match: {{path: /mine}}, route: {{cluster: mine}}}}
"""


@pytest.fixture
def apply(web_lab: Lab) -> Iterator[Callable[..., None]]:
    """Apply an EnvoyFilter; removed afterwards, and then nothing is refused any more."""

    def applied(text: str, *, good: bool = True) -> None:
        web_lab.apply(text, check=good)

    yield applied
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")
    eventually(lambda: not nacks(web_lab), "nothing is refused any more")


def nacks(lab: Lab) -> dict[str, str]:
    """What is not in force, by name, with the reason."""
    return {nack["name"]: nack["detail"] for nack in lab.status()["envoy"]["xds"]["nacks"]}


def seen(lab: Lab, pod: str, header: str, path: str = "/") -> str | None:
    value: str | None = lab.ask(pod, f"http://web{path}")["body"]["headers"].get(header)
    return value


@pytest.mark.api(
    *("EnvoyFilter.workloadLabels", "EnvoyFilter.filters", "EnvoyFilter.Filter.listenerMatch"),
    *("EnvoyFilter.Filter.filterType", "EnvoyFilter.Filter.FilterType.HTTP", "EnvoyFilter.Filter.filterName"),
    *("EnvoyFilter.Filter.filterConfig", "EnvoyFilter.ListenerMatch.ListenerType.SIDECAR_OUTBOUND"),
)
def test_a_filter_of_istio_1_0_runs_for_the_pods_that_it_is_for(web_lab: Lab, apply: Callable[..., None]) -> None:
    apply(LEGACY)
    assert seen(web_lab, "client", "x-lua") == "was here"
    assert seen(web_lab, "deploy/web-v1", "x-lua") is None


def test_a_patch_that_envoy_refuses_is_named_and_the_others_are_in_force(
    web_lab: Lab, apply: Callable[..., None]
) -> None:
    bad = LUA.format(name="bad", code="function (")
    good = LUA.format(name="good", code='function envoy_on_request(h) h:headers():add("x-good", "1") end')
    apply(HEAD + bad + good + ANSWER, good=False)
    eventually(lambda: seen(web_lab, "client", "x-good") == "1", "what is good is in force")
    assert web_lab.ask("client", "http://web/mine")["status"] == 418
    assert web_lab.ask("deploy/web-v1", "http://web/mine")["status"] == 200
    eventually(lambda: set(nacks(web_lab)) == {"check|EnvoyFilter default/client patch 0"}, "the patch alone is named")
    assert "function" in nacks(web_lab)["check|EnvoyFilter default/client patch 0"]


def test_a_cluster_of_ones_own_is_where_a_route_leads(web_lab: Lab, apply: Callable[..., None]) -> None:
    name, pod = next((n, p) for n, p in web_lab.pods().items() if n.startswith("default/web-v2"))
    address = next(ip for ip in pod["ips"] if ":" not in ip)
    apply(HEAD + OWN_CLUSTER.format(address=address))
    answers = {web_lab.ask("client", "http://web/mine")["body"]["version"] for _ in range(8)}
    assert answers == {"v2"}, name
