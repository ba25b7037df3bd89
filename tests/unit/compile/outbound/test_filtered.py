"""What EnvoyFilters change of what a pod gets, and of what nobody else does."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent, indent
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, pod, sandbox, service

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import join
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CHECKS, CLUSTERS, LISTENERS, ROUTES
from tidegate.xds.encode import Encoder

WEB = "web.default.svc.cluster.local"
CLUSTER_OF = (
    pod("client", "app: client", "10.0.0.1"),
    pod("other", "app: other", "10.0.0.2"),
    service("web", "http:80", "http-admin:8080", ips="10.96.0.1"),
)
LUA = "{name: my.lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"
ROUTER = (
    "listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: %s}}}}"
)


def a_filter(patches: str, *, name: str = "f", namespace: str = "default", app: str = "client", spec: str = "") -> str:
    selector = f"workloadSelector: {{labels: {{app: {app}}}}}" if app else ""
    head = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {selector}
  {spec}
"""
    return head + ("  configPatches:\n" + indent(dedent(patches), "  ") if patches else "")


def plan_of(*filters: str) -> Plan:
    boxes = (sandbox("client", "10.0.0.1", cookie=1), sandbox("other", "10.0.0.2", cookie=2))
    return compile_plan(join(config_of(ENROLLED, *CLUSTER_OF, *filters), boxes))


def chains(plan: Plan, who: str = "client") -> dict[str, list[str]]:
    """HTTP filters of a pod by filter chain, without ours at the front."""
    number = {"client": 1, "other": 2}[who]
    body = plan.envoy[LISTENERS][f"outbound|default/{who}|{number}"].body
    return {
        chain["name"]: [f["name"] for f in chain["filters"][-1]["typed_config"]["http_filters"]][1:]
        for chain in body["filter_chains"]
    }


def hosts(plan: Plan, port: int = 80) -> dict[str, Mapping[str, Any]]:
    """Virtual hosts by domain."""
    body = plan.envoy[ROUTES][f"{WEB}:{port}"].body
    return {domain: host for host in body["virtual_hosts"] for domain in host["domains"]}


PLAIN = ["envoy.filters.http.fault", "envoy.filters.http.cors", "envoy.filters.http.router"]


def test_a_filter_is_put_into_the_listener_of_the_pods_that_it_is_for() -> None:
    plan = plan_of(a_filter(f"- {{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}"))
    assert chains(plan) == {"http": ["my.lua", *PLAIN]}
    assert chains(plan, "other") == {"http": PLAIN}


@pytest.mark.parametrize(
    ("operation", "neighbour", "expected"),
    [
        ("INSERT_BEFORE", "envoy.router", [*PLAIN[:2], "my.lua", PLAIN[2]]),
        ("INSERT_BEFORE", "envoy.filters.http.cors", [PLAIN[0], "my.lua", *PLAIN[1:]]),
        ("INSERT_AFTER", "envoy.filters.http.fault", [PLAIN[0], "my.lua", *PLAIN[1:]]),
        ("INSERT_AFTER", "envoy.filters.http.router", [*PLAIN[:2], "my.lua", PLAIN[2]]),
        ("INSERT_BEFORE", "nobody", PLAIN),
        ("ADD", "nobody", [*PLAIN[:2], "my.lua", PLAIN[2]]),
        ("REPLACE", "envoy.filters.http.cors", [PLAIN[0], "my.lua", PLAIN[2]]),
    ],
)
def test_where_a_filter_is_put(operation: str, neighbour: str, expected: list[str]) -> None:
    patch = f"""
    - applyTo: HTTP_FILTER
      match: {{{ROUTER % neighbour}}}
      patch: {{operation: {operation}, value: {LUA}}}
    """
    assert chains(plan_of(a_filter(patch))) == {"http": expected}


def test_a_filter_is_taken_away_by_its_name() -> None:
    patch = f"- {{applyTo: HTTP_FILTER, match: {{{ROUTER % 'envoy.cors'}}}, patch: {{operation: REMOVE}}}}"
    assert chains(plan_of(a_filter(patch))) == {"http": [PLAIN[0], PLAIN[2]]}


def test_what_holds_requests_for_their_routes_is_not_to_be_had() -> None:
    name = "envoy.filters.http.on_demand"
    patch = f"- {{applyTo: HTTP_FILTER, match: {{{ROUTER % name}}}, patch: {{operation: REMOVE}}}}"
    body = plan_of(a_filter(patch)).envoy[LISTENERS]["outbound|default/client|1"].body
    manager = body["filter_chains"][0]["filters"][-1]["typed_config"]
    assert manager["http_filters"][0]["name"] == name


def test_a_patch_for_a_port_is_in_the_chain_of_that_port() -> None:
    patch = f"""
    - applyTo: HTTP_FILTER
      match: {{listener: {{portNumber: 8080}}}}
      patch: {{operation: INSERT_FIRST, value: {LUA}}}
    """
    plan = plan_of(a_filter(patch))
    assert chains(plan) == {"http": PLAIN, "http|8080|any": ["my.lua", *PLAIN]}
    body = plan.envoy[LISTENERS]["outbound|default/client|1"].body
    assert body["filter_chains"][1]["filter_chain_match"] == {"destination_port": 8080}


@pytest.mark.api("EnvoyFilter.ListenerMatch.portNamePrefix")
def test_a_patch_for_names_of_ports_is_for_the_ports_of_those_names() -> None:
    legacy = """
spec:
  filters:
  - {filterName: envoy.lua, filterType: HTTP, filterConfig: {}, listenerMatch: {portNamePrefix: HTTP-a}}
"""
    head = a_filter("", app="").replace("spec:\n", "").rstrip() + legacy
    assert set(chains(plan_of(head))) == {"http", "http|8080|any"}


@pytest.mark.api("EnvoyFilter.ListenerMatch.portNumber", "EnvoyFilter.ListenerMatch.address")
def test_patches_for_a_port_and_for_addresses_meet_in_one_chain() -> None:
    text = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f}
spec:
  filters:
  - {filterName: envoy.lua, filterType: HTTP, filterConfig: {}, listenerMatch: {portNumber: 80}}
  - {filterName: envoy.csrf, filterType: HTTP, filterConfig: {}, listenerMatch: {address: [10.96.0.0/16]}}
"""
    made = chains(plan_of(text))
    lua, csrf = "envoy.filters.http.lua", "envoy.filters.http.csrf"
    assert made["http"] == PLAIN
    assert made["http|80|any"] == [lua, *PLAIN]
    assert made["http|any|10.96.0.0/16"] == [csrf, *PLAIN]
    assert made["http|80|10.96.0.0/16"] == [csrf, lua, *PLAIN]


def test_the_routes_of_one_client_are_patched_and_nobody_elses() -> None:
    patch = f"""
    - applyTo: VIRTUAL_HOST
      match: {{routeConfiguration: {{vhost: {{name: "{WEB}:80"}}}}}}
      patch: {{operation: MERGE, value: {{response_headers_to_add: [{{header: {{key: a, value: b}}}}]}}}}
    - applyTo: HTTP_ROUTE
      match: {{routeConfiguration: {{vhost: {{route: {{name: default}}}}}}}}
      patch: {{operation: MERGE, value: {{route: {{timeout: 7s}}}}}}
    """
    plan = plan_of(a_filter(patch))
    mine = hosts(plan)["default/client]*"]
    assert mine["response_headers_to_add"] == [{"header": {"key": "a", "value": "b"}}]
    assert mine["routes"][0]["route"]["timeout"] == "7s"
    assert mine["routes"][0]["route"]["cluster"] == f"outbound|80||{WEB}"
    everybody = hosts(plan)["*"]
    assert "response_headers_to_add" not in everybody
    assert everybody["routes"][0]["route"]["timeout"] == "0s"
    assert "response_headers_to_add" not in hosts(plan, 8080)["default/client]*"]


def test_a_patch_of_the_route_configuration_is_one_of_each_virtual_host_of_the_client() -> None:
    patch = """
    - applyTo: ROUTE_CONFIGURATION
      match: {routeConfiguration: {name: "80"}}
      patch: {operation: MERGE, value: {request_headers_to_remove: [x-a]}}
    """
    plan = plan_of(a_filter(patch))
    assert hosts(plan)["default/client]*"]["request_headers_to_remove"] == ["x-a"]
    assert "request_headers_to_remove" not in hosts(plan)["*"]
    assert "request_headers_to_remove" in plan.envoy[ROUTES][f"{WEB}:80"].body


def test_routes_are_added_before_those_that_are_there() -> None:
    value = "{name: mine, match: {path: /mine}, direct_response: {status: 418}}"
    patch = f"- {{applyTo: HTTP_ROUTE, patch: {{operation: INSERT_FIRST, value: {value}}}}}"
    made = hosts(plan_of(a_filter(patch)))["default/client]*"]["routes"]
    assert [r["name"] for r in made][:2] == ["mine", "default"]


def test_a_cluster_that_is_patched_for_some_is_another_one() -> None:
    patch = f"""
    - applyTo: CLUSTER
      match: {{cluster: {{service: {WEB}, portNumber: 80}}}}
      patch: {{operation: MERGE, value: {{connect_timeout: 1.5s}}}}
    """
    plan = plan_of(a_filter(patch))
    found = hosts(plan)
    assert "default/client]*" in found, "the client has routes of its own"
    mine = found["default/client]*"]["routes"][0]["route"]["cluster"]
    assert mine.startswith("outbound|80|~")
    assert plan.envoy[CLUSTERS][mine].body["connect_timeout"] == "1.500s"
    assert plan.envoy[CLUSTERS][mine].body["eds_cluster_config"]["service_name"] == mine
    assert plan.envoy[CLUSTERS][f"outbound|80||{WEB}"].body["connect_timeout"] == "10s"
    assert hosts(plan, 8080)["*"]["routes"][0]["route"]["cluster"] == f"outbound|8080||{WEB}"


def test_a_cluster_of_ones_own_is_led_to_by_the_listener() -> None:
    patch = "- {applyTo: CLUSTER, patch: {operation: ADD, value: {name: authz, type: STATIC, connect_timeout: 1s}}}"
    plan = plan_of(a_filter(patch))
    assert "authz" in plan.envoy[LISTENERS]["outbound|default/client|1"].needs(CLUSTERS)
    assert plan.envoy[LISTENERS]["outbound|default/other|2"].needs(CLUSTERS) == []
    assert plan.envoy[CLUSTERS]["authz"].body["connect_timeout"] == "1s"


def test_a_filter_gets_the_extension_that_it_names() -> None:
    config = "{'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, inline_code: '--'}"
    patches = f"""
    - applyTo: EXTENSION_CONFIG
      patch: {{operation: ADD, value: {{name: mine, typed_config: {config}}}}}
    - applyTo: HTTP_FILTER
      patch: {{operation: INSERT_FIRST, value: {{name: mine, config_discovery: {{config_source: {{ads: {{}}}}}}}}}}
    """
    plan = plan_of(a_filter(patches))
    body = plan.envoy[LISTENERS]["outbound|default/client|1"].body
    made = body["filter_chains"][0]["filters"][-1]["typed_config"]["http_filters"][1]
    assert made["typed_config"]["inline_code"] == "--"


def test_filters_are_applied_in_order_and_every_pod_gets_those_of_the_root_namespace() -> None:
    patch = "- {applyTo: CLUSTER, patch: {operation: MERGE, value: {alt_stat_name: %s}}}"
    late = a_filter(patch % "late", name="late", spec="priority: 1")
    root = a_filter(patch % "root", name="root", namespace="istio-system", app="")
    plan = plan_of(late, root)
    name = {
        who: hosts(plan)[domain]["routes"][0]["route"]["cluster"]
        for who, domain in (("client", "default/client]*"), ("other", "*"))
    }
    stats = {who: plan.envoy[CLUSTERS][found].body["alt_stat_name"] for who, found in name.items()}
    assert stats == {"client": "late", "other": "root"}


def test_a_patch_that_cannot_be_applied_is_told_and_the_others_are_in_force() -> None:
    patches = f"""
    - {{applyTo: LISTENER, patch: {{operation: MERGE, value: {{name: mine}}}}}}
    - {{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}
    """
    plan = plan_of(a_filter(patches))
    assert chains(plan) == {"http": ["my.lua", *PLAIN]}
    told = plan.envoy[LISTENERS]["check|EnvoyFilter default/f patch 0"]
    assert "cannot be changed" in told.wrong
    assert str(told.origins[0]).startswith("EnvoyFilter default/f (")
    assert not plan.envoy[LISTENERS]["check|EnvoyFilter default/f patch 1"].wrong


def test_each_patch_is_shown_to_envoy_where_it_serves_nobody() -> None:
    patches = f"""
    - {{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}
    - {{applyTo: CLUSTER, patch: {{operation: MERGE, value: {{connect_timeout: 1s}}}}}}
    - {{applyTo: HTTP_ROUTE, patch: {{operation: MERGE, value: {{route: {{timeout: 7s}}}}}}}}
    """
    plan = plan_of(a_filter(patches))
    listener, cluster, route = (f"check|EnvoyFilter default/f patch {n}" for n in range(3))
    assert plan.envoy[LISTENERS][listener].body["bind_to_port"] is False
    assert plan.envoy[CLUSTERS][cluster].body["connect_timeout"] == "1s"
    assert plan.envoy[CHECKS][route].body["virtual_hosts"][0]["routes"][0]["route"]["timeout"] == "7s"


def test_what_did_not_change_is_the_same_object() -> None:
    patch = f"- {{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}"
    mesh = config_of(ENROLLED, *CLUSTER_OF, a_filter(patch))
    boxes = (sandbox("client", "10.0.0.1", cookie=1),)
    compiler = Compiler()
    first = compiler.compile(join(mesh, boxes))
    second = compiler.compile(join(mesh, boxes))
    name = "outbound|default/client|1"
    assert first.envoy[LISTENERS][name] is second.envoy[LISTENERS][name]


def test_explain_names_the_patches_that_concern_a_request_and_the_cluster_with_them() -> None:
    first = f"{{operation: INSERT_FIRST, value: {LUA}}}"
    patches = f"""
    - {{applyTo: HTTP_FILTER, match: {{listener: {{portNumber: 80}}}}, patch: {first}}}
    - {{applyTo: HTTP_FILTER, match: {{listener: {{portNumber: 8080}}}}, patch: {{operation: ADD, value: {LUA}}}}}
    - {{applyTo: CLUSTER, patch: {{operation: MERGE, value: {{connect_timeout: 1s}}}}}}
    """
    boxes = (sandbox("client", "10.0.0.1", cookie=1),)
    facts = join(config_of(ENROLLED, *CLUSTER_OF, pod("web", "app: web", "10.0.0.9"), a_filter(patches)), boxes)
    told = explain(facts, WorkloadId("default", "client"), "web", 80)
    found = [hop.result.partition(": ")[2] for hop in told.hops if hop.step == "envoy filter"]
    assert found == ["INSERT_FIRST of HTTP_FILTER", "MERGE of CLUSTER"]
    assert told.destinations[0].cluster.startswith("outbound|80|~")


VALUES = {
    "LISTENER": "{per_connection_buffer_limit_bytes: 9}",
    "LISTENER_FILTER": (
        "{name: t, typed_config:"
        " {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}"
    ),
    "FILTER_CHAIN": "{transport_socket_connect_timeout: 3s}",
    "NETWORK_FILTER": (
        "{name: e, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}"
    ),
    "HTTP_FILTER": LUA,
    "ROUTE_CONFIGURATION": "{request_headers_to_remove: [a]}",
    "VIRTUAL_HOST": "{request_headers_to_remove: [b]}",
    "HTTP_ROUTE": "{name: n, match: {prefix: /n}, direct_response: {status: 200}}",
    "CLUSTER": "{connect_timeout: 1s}",
}
IN_LISTS = {"LISTENER_FILTER", "NETWORK_FILTER", "HTTP_FILTER", "FILTER_CHAIN", "HTTP_ROUTE", "VIRTUAL_HOST"}


def test_every_patch_that_can_be_written_is_applied_or_told_and_what_is_made_are_messages_of_envoy() -> None:
    operations = ("MERGE", "ADD", "REMOVE", "REPLACE", "MERGE_AND_REPLACE_LIST")
    inserted = ("INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST")
    patches = "".join(
        f"- {{applyTo: {what}, patch: {{operation: {operation}"
        + (f", value: {value}" if operation != "REMOVE" else "")
        + "}}\n"
        for what, value in VALUES.items()
        for operation in (*operations, *(inserted if what in IN_LISTS else ()))
    )
    plan = plan_of(a_filter(patches))
    encoder = Encoder()
    for kind in (LISTENERS, ROUTES, CLUSTERS):
        for name, resource in plan.envoy[kind].items():
            _, rejection = encoder.encode(kind, name, resource)
            assert rejection is None or rejection.detail == resource.wrong
    told = {name: one.wrong for name, one in plan.envoy[LISTENERS].items() if one.wrong}
    assert told
    assert all("\n" not in wrong for wrong in told.values())
