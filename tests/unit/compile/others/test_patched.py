"""EnvoyFilters at Envoys that are not ours: on which of their listeners, routes and clusters, and at whose."""

from __future__ import annotations

from textwrap import dedent, indent
from typing import Any

import pytest
from tests.support.others import BY_HAND, made_for, served_to, sidecar

from tidegate.compile.others.client import Client, client
from tidegate.config.shapes import envoy_patch
from tidegate.model.envoy_filter import Context
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, ROUTES, Resources

LUA = "{name: my.lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"
PUT = f"patch: {{operation: INSERT_FIRST, value: {LUA}}}"
PLAIN = ["envoy.filters.http.fault", "envoy.filters.http.cors", "envoy.filters.http.router"]
DB = "outbound|5432||db.default.svc.cluster.local"


def a_filter(patches: str, *, namespace: str = "default", labels: str = "") -> str:
    selector = f"workloadSelector: {{labels: {{{labels}}}}}" if labels else ""
    head = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: {namespace}}}
spec:
  {selector}
  configPatches:
"""
    return head + indent(dedent(patches), "  ")


def http_filters(found: Resources, listener: str, chain: int = 0) -> list[str]:
    config = found[LISTENERS][listener].body["filter_chains"][chain]["filters"][-1]["typed_config"]
    return [one["name"] for one in config["http_filters"]]


def hosts(found: Resources, name: str = "80") -> dict[str, Any]:
    return {host["name"]: host for host in found[ROUTES][name].body["virtual_hosts"]}


@pytest.fixture
def inwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches of what comes in are read, whether or not the node has a listener for it."""
    monkeypatch.delitem(envoy_patch.ABSENT, Context.SIDECAR_INBOUND, raising=False)


# --- whose ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "patched"),
    [
        (a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}"), True),
        (a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}", labels="app: web"), True),
        (a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}", labels="app: other"), False),
        (a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}", namespace="elsewhere"), False),
        (a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}", namespace="istio-system"), True),
        (a_filter(f"- {{applyTo: HTTP_FILTER, match: {{context: GATEWAY}}, {PUT}}}"), False),
        (a_filter(f"- {{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND}}, {PUT}}}"), False),
    ],
)
def test_a_client_gets_the_patches_that_are_for_it(text: str, patched: bool) -> None:
    found = made_for(sidecar(), text)
    assert http_filters(found, "0.0.0.0_80") == (["my.lua", *PLAIN] if patched else PLAIN)


@pytest.mark.parametrize(
    ("match", "metadata", "patched"),
    [
        ("proxyVersion: '^1\\.29.*'", {"ISTIO_VERSION": "1.29.1"}, True),
        ("proxyVersion: '^1\\.29.*'", {"ISTIO_VERSION": "1.30.0"}, False),
        ("proxyVersion: '.*'", {}, False),
        ("metadata: {COLOUR: red}", {"COLOUR": "red", "SIZE": "big"}, True),
        ("metadata: {COLOUR: red}", {"SIZE": "big"}, False),
    ],
)
def test_a_proxy_is_what_it_says_that_it_is(match: str, metadata: dict[str, str], patched: bool) -> None:
    text = a_filter(f"- {{applyTo: HTTP_FILTER, match: {{proxy: {{{match}}}}}, {PUT}}}")
    assert ("my.lua" in http_filters(made_for(sidecar(**metadata), text), "0.0.0.0_80")) == patched


def test_grpc_without_a_proxy_is_not_patched() -> None:
    text = a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}")
    found = made_for(client("g", {"GENERATOR": "grpc"}), text)
    assert "my.lua" not in str(found[LISTENERS]["web:80"].body)


# --- listeners --------------------------------------------------------------------------------------------------------
def test_a_patch_is_for_the_port_that_it_names() -> None:
    text = a_filter(f"- {{applyTo: HTTP_FILTER, match: {{listener: {{portNumber: 81}}}}, {PUT}}}")
    assert http_filters(made_for(sidecar(), text), "0.0.0.0_80") == PLAIN


RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
TCP_FILTER = f"{{name: my.rbac, typed_config: {{'@type': {RBAC}, stat_prefix: x}}}}"


@pytest.mark.parametrize(
    ("listener", "patched"),
    [
        ("name: 10.96.0.2_5432", {"10.96.0.2_5432"}),
        ("portNumber: 5432", {"10.96.0.1_5432", "10.96.0.2_5432"}),
        ("name: 10.96.0.9_5432", set()),
    ],
)
def test_listeners_have_istios_names(listener: str, patched: set[str]) -> None:
    text = a_filter(
        f"- {{applyTo: NETWORK_FILTER, match: {{context: SIDECAR_OUTBOUND, listener: {{{listener}}}}}, "
        f"patch: {{operation: INSERT_FIRST, value: {TCP_FILTER}}}}}"
    )
    assert {
        name for name, item in made_for(sidecar(), text)[LISTENERS].items() if "my.rbac" in str(item.body)
    } == patched


@pytest.mark.usefixtures("inwards")
def test_what_comes_in_is_patched_by_the_port_of_the_application() -> None:
    match = "match: {context: SIDECAR_INBOUND, listener: {portNumber: %d}}"
    found = made_for(sidecar(), a_filter(f"- {{applyTo: HTTP_FILTER, {match % 8080}, {PUT}}}"))
    chains = {
        c["filter_chain_match"]["destination_port"]: c for c in found[LISTENERS]["virtualInbound"].body["filter_chains"]
    }
    assert "my.lua" in str(chains[8080])
    assert "my.lua" not in str(chains[5432])
    other = made_for(sidecar(), a_filter(f"- {{applyTo: HTTP_FILTER, {match % 80}, {PUT}}}"))
    assert "my.lua" not in str(other[LISTENERS]["virtualInbound"].body)


def test_a_listener_is_added_and_another_removed() -> None:
    added = "{name: mine, address: {socket_address: {address: 127.0.0.1, port_value: 9999}}, filter_chains: []}"
    text = a_filter(
        f"""
        - {{applyTo: LISTENER, match: {{context: SIDECAR_OUTBOUND}}, patch: {{operation: ADD, value: {added}}}}}
        - applyTo: LISTENER
          match: {{context: SIDECAR_OUTBOUND, listener: {{name: 10.96.0.2_5432}}}}
          patch: {{operation: REMOVE}}
        """
    )
    found = made_for(BY_HAND, text)[LISTENERS]
    assert found["mine"].body["address"]["socket_address"]["port_value"] == 9999
    assert "10.96.0.2_5432" not in made_for(sidecar(), text)[LISTENERS]
    assert "10.96.0.1_5432" in made_for(sidecar(), text)[LISTENERS]


# --- routes and clusters ----------------------------------------------------------------------------------------------
def test_virtual_hosts_and_routes_are_patched_added_and_removed() -> None:
    text = a_filter(
        """
        - applyTo: HTTP_ROUTE
          match: {routeConfiguration: {name: "80", vhost: {name: "web.default.svc.cluster.local:80"}}}
          patch: {operation: MERGE, value: {route: {timeout: 7s}}}
        - applyTo: VIRTUAL_HOST
          patch:
            operation: ADD
            value: {name: new, domains: [new.example], routes: [{match: {prefix: /}, direct_response: {status: 204}}]}
        - applyTo: VIRTUAL_HOST
          match: {routeConfiguration: {vhost: {name: allow_any}}}
          patch: {operation: REMOVE}
        - applyTo: ROUTE_CONFIGURATION
          patch: {operation: MERGE, value: {response_headers_to_remove: [server]}}
        """
    )
    found = made_for(sidecar(), text)
    assert hosts(found)["web.default.svc.cluster.local:80"]["routes"][0]["route"]["timeout"] == "7s"
    assert hosts(found)["new"]["domains"] == ["new.example"]
    assert "allow_any" not in hosts(found)
    assert found[ROUTES]["80"].body["response_headers_to_remove"] == ["server"]


@pytest.mark.usefixtures("inwards")
def test_routes_of_what_comes_in_are_patched() -> None:
    text = a_filter(
        """
        - applyTo: HTTP_ROUTE
          match: {context: SIDECAR_INBOUND, routeConfiguration: {name: inbound|8080||}}
          patch: {operation: MERGE, value: {route: {timeout: 7s}}}
        """
    )
    assert "'timeout': '7s'" in str(made_for(sidecar(), text)[LISTENERS]["virtualInbound"].body)


@pytest.mark.parametrize(
    ("match", "patched"),
    [
        ("context: SIDECAR_OUTBOUND, cluster: {service: db.default.svc.cluster.local}", {DB}),
        (f"context: SIDECAR_OUTBOUND, cluster: {{name: '{DB}'}}", {DB}),
        ("context: SIDECAR_OUTBOUND, cluster: {name: PassthroughCluster}", {"PassthroughCluster"}),
        ("context: SIDECAR_INBOUND, cluster: {portNumber: 8080}", {"inbound|8080||"}),
    ],
)
@pytest.mark.usefixtures("inwards")
def test_clusters_are_patched_by_istios_names(match: str, patched: set[str]) -> None:
    text = a_filter(
        f"- {{applyTo: CLUSTER, match: {{{match}}}, patch: {{operation: MERGE, value: {{connect_timeout: 7s}}}}}}"
    )
    found = made_for(sidecar(), text)[CLUSTERS]
    assert {name for name, item in found.items() if item.body["connect_timeout"] == "7s"} == patched


def test_a_cluster_is_added_once_and_another_removed() -> None:
    text = a_filter(
        f"""
        - {{applyTo: CLUSTER, patch: {{operation: ADD, value: {{name: mine, type: STATIC, connect_timeout: 1s}}}}}}
        - {{applyTo: CLUSTER, match: {{cluster: {{name: '{DB}'}}}}, patch: {{operation: REMOVE}}}}
        """
    )
    found = made_for(sidecar(), text)[CLUSTERS]
    assert found["mine"].body["connect_timeout"] == "1s"
    assert DB not in found


# --- what goes wrong --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("who", [sidecar(), BY_HAND], ids=["sidecar", "by hand"])
def test_what_cannot_be_applied_is_named_and_the_rest_holds(who: Client) -> None:
    twice = "{name: again, domains: [web], routes: []}"
    text = a_filter(
        f"""
        - {{applyTo: VIRTUAL_HOST, patch: {{operation: ADD, value: {twice}}}}}
        - {{applyTo: HTTP_FILTER, {PUT}}}
        """
    )
    found = served_to(who, text)
    assert [(patch.index, why) for patch, why in found.failures] == [
        (0, "domains: of a virtual host that is added have to be some that no other has")
    ]
    assert any("my.lua" in str(item.body) for item in found.resources[LISTENERS].values())


def test_what_is_refused_has_something_to_fall_back_to() -> None:
    found = made_for(sidecar(), a_filter(f"- {{applyTo: HTTP_FILTER, {PUT}}}"))
    plain = found[LISTENERS]["0.0.0.0_80"].plain
    assert plain is not None
    assert "my.lua" not in str(plain().body)
