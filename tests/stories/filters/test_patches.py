"""`configPatches` of an EnvoyFilter: what each operation does to what a request meets, on each side."""

from __future__ import annotations

import json
from textwrap import indent

import pytest
from tests.support.eventually import eventually
from tests.support.filtered import CONTEXTS, EDGE, IN, OUT, WAYS, Filtered, code, signs

# Of the root namespace and without labels: for every workload, the gateway too.
HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: NAME, namespace: istio-system}
spec:
  configPatches:
"""
MANAGER = "listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager%s}}}"
BESIDE = MANAGER % ", subFilter: {name: %s}"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
OTHER = f"{{typed_config: {{'@type': {LUA}, default_source_code: {{inline_string: %s}}}}}}"
# One after the other: operation, what it is done to, the filter, and what is then signed.
OPERATIONS = (
    ("ADD", "", signs("a"), "a"),
    ("ADD", MANAGER % "", signs("b"), "ab"),
    ("INSERT_FIRST", "", signs("c"), "cab"),
    ("INSERT_BEFORE", "", signs("d"), "dcab"),
    ("INSERT_BEFORE", BESIDE % "b", signs("e"), "dcaeb"),
    ("INSERT_BEFORE", BESIDE % "envoy.filters.http.router", signs("f"), "dcaebf"),
    ("INSERT_AFTER", BESIDE % "a", signs("g"), "dcagebf"),
    ("INSERT_AFTER", "", signs("h"), "dcagebfh"),
    ("REMOVE", BESIDE % "c", "", "dagebfh"),
    ("REPLACE", BESIDE % "d", signs("r"), "ragebfh"),
    ("MERGE", BESIDE % "e", OTHER % json.dumps(code("m")), "ragmbfh"),
    ("MERGE_AND_REPLACE_LIST", BESIDE % "f", OTHER % json.dumps(code("n")), "ragmbnh"),
    ("INSERT_AFTER", BESIDE % "nobody", signs("x"), "ragmbnh"),
)


def patch(apply_to: str, operation: str, value: str, match: str = "", context: str = "ANY") -> str:
    """One of configPatches. value, match: in flow style."""
    match = f"context: {context}{', ' if match else ''}{match}"
    told = f", value: {value}" if value else ""
    return f"- applyTo: {apply_to}\n  match: {{{match}}}\n  patch: {{operation: {operation}{told}}}\n"


def a_filter(*patches: str, name: str = "patches") -> str:
    return HEAD.replace("NAME", name) + indent("".join(patches), "  ")


def test_what_operations_do_to_the_filters_of_requests(lab: Filtered) -> None:
    lab.step(a_filter(*(patch("HTTP_FILTER", how, value, match) for how, match, value, _ in OPERATIONS)))
    expected = OPERATIONS[-1][3]
    for way, sides in WAYS.items():
        assert lab.signed(way) == expected * len(sides), way


def test_filters_of_two_objects_stand_in_the_order_of_their_priorities(lab: Filtered) -> None:
    def of(name: str, priority: int) -> str:
        made = a_filter(patch("HTTP_FILTER", "ADD", signs(name)), name=name)
        return made.replace("spec:\n", f"spec:\n  priority: {priority}\n")

    lab.step(of("a", 30), of("b", -30))
    for way, sides in WAYS.items():
        assert lab.signed(way) == "ba" * len(sides), way


def test_a_filter_may_be_configured_by_an_extension_of_its_name(lab: Filtered) -> None:
    discovered = f"{{name: own, config_discovery: {{config_source: {{ads: {{}}}}, type_urls: [{LUA}]}}}}"
    lab.step(
        a_filter(patch("EXTENSION_CONFIG", "ADD", signs("x", "own")), patch("HTTP_FILTER", "INSERT_FIRST", discovered))
    )
    for way, sides in WAYS.items():
        assert lab.signed(way) == "x" * len(sides), way


def test_what_is_merged_into_routes_hosts_and_tables_is_on_what_they_send_on(lab: Filtered) -> None:
    def adds(word: str) -> str:
        return f"{{request_headers_to_add: [{{header: {{key: x-signed, value: {word}}}}}]}}"

    lab.step(
        a_filter(
            patch("HTTP_ROUTE", "MERGE", adds("r")),
            patch("VIRTUAL_HOST", "MERGE", adds("v")),
            patch("ROUTE_CONFIGURATION", "MERGE", adds("t")),
            patch("HTTP_ROUTE", "MERGE", adds("s"), "routeConfiguration: {portNumber: 81}"),
        )
    )
    for way, sides in WAYS.items():
        assert sorted(lab.signed(way)) == sorted("rvt" * len(sides)), way
    assert sorted(lab.signed(OUT, 81)) == sorted("rvtsrvts")
    assert sorted(lab.signed(IN, 81)) == sorted("rvts")


@pytest.mark.parametrize("side", WAYS)
def test_a_route_is_put_first_and_taken_away(lab: Filtered, side: str) -> None:
    mine = '{name: mine, match: {prefix: "/"}, direct_response: {status: 418}}'
    lab.step(a_filter(patch("HTTP_ROUTE", "INSERT_FIRST", mine, context=CONTEXTS[side])))
    eventually(lambda: lab.answer(side).status == 418, "the route answers")
    gone = patch("HTTP_ROUTE", "REMOVE", "", "routeConfiguration: {vhost: {route: {name: mine}}}", CONTEXTS[side])
    lab.step(a_filter(patch("HTTP_ROUTE", "INSERT_FIRST", mine, context=CONTEXTS[side]), gone))
    assert lab.signed(side) == ""


def test_what_is_merged_into_a_manager_and_a_listener_is_what_clients_are_told(lab: Filtered) -> None:
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    named = f'{{typed_config: {{"@type": {manager}, via: patched}}}}'
    lab.step(a_filter(patch("NETWORK_FILTER", "MERGE", named, MANAGER % "", "GATEWAY")))
    assert lab.signed(EDGE) == ""
    assert lab.answer(EDGE).headers["via"] == "patched"
