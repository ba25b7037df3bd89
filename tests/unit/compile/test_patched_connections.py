"""Patches of EnvoyFilters that are for connections without HTTP: who carries those, and what their chains become."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS
from tidegate.model.tier import Tier

DB = "db.default.svc.cluster.local"
MESH = (
    pod("client", "app: client", "10.0.0.1"),
    pod("other", "app: other", "10.0.0.2"),
    pod("db", "app: db", "10.0.1.1"),
    pod("queue", "app: queue", "10.0.1.2"),
    service("db", "tcp-db:5432", ips="10.96.0.1"),
    service("queue", "tcp-queue:5672", ips="10.96.0.2"),
    service("web", "http:80", ips="10.96.0.3"),
)
RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
FILTER = f"{{name: mine, typed_config: {{'@type': {RBAC}, stat_prefix: mine, rules: {{}}}}}}"
TCP = ("10.96.0.1", "10.96.0.2")
PROXY = "envoy.filters.network.tcp_proxy"


def a_filter(patch: str, app: str = "client", namespace: str = "default") -> str:
    selector = f"workloadSelector: {{labels: {{app: {app}}}}}" if app else ""
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: {namespace}}}
spec:
  {selector}
  configPatches: [{patch}]
"""


def network(match: str = "", context: str = "SIDECAR_OUTBOUND", before: str = PROXY) -> str:
    chain = f"filterChain: {{filter: {{name: {before}}}}}" if before else ""
    listener = ", ".join(filter(None, (match, chain)))
    found = f"context: {context}, listener: {{{listener}}}"
    return f"{{applyTo: NETWORK_FILTER, match: {{{found}}}, patch: {{operation: INSERT_BEFORE, value: {FILTER}}}}}"


def plan_of(*filters: str) -> Plan:
    boxes = (sandbox("client", "10.0.0.1", cookie=1), sandbox("other", "10.0.0.2", cookie=2))
    return compile_plan(join(config_of(ENROLLED, *MESH, *filters), boxes))


def chains(plan: Plan, who: str = "client") -> dict[str, list[str]]:
    """Filters of connections of a pod by the service port that a chain is for, the last of ours left out."""
    listener: Any = plan.envoy[LISTENERS][f"outbound|default/{who}|{ {'client': 1, 'other': 2}[who] }"].body
    return {
        chain["name"].split("|")[1].partition(".")[0]: [f["name"] for f in chain["filters"]][-2:]
        for chain in listener["filter_chains"]
        if chain["name"].startswith("forward|")
    }


def tiers(plan: Plan, who: str = "client") -> dict[str, Tier]:
    """By which a pod's connections to each address of the mesh go."""
    scopes = {one.id.name: one.scope for one in plan.pods}
    found: dict[str, Tier] = {}
    for row in sorted(plan.destinations, key=lambda row: row.scope == scopes[who]):
        if row.scope in (0, scopes[who]):
            found[str(row.address)] = row.tier
    return found


PATCHED = ["mine", PROXY]


def test_connections_that_a_patch_is_for_are_envoys_for_those_pods_alone() -> None:
    plan = plan_of(a_filter(network()))
    assert chains(plan) == {"db": PATCHED, "queue": PATCHED}
    assert chains(plan, "other") == {}
    assert {tiers(plan)[address] for address in TCP} == {Tier.ENVOY}
    assert {tiers(plan, "other")[address] for address in TCP} == {Tier.FASTPATH}


@pytest.mark.parametrize(
    "match",
    ["portNumber: 5432", "filterChain: {destinationPort: 5432}", "name: 10.96.0.1_5432", "name: 0.0.0.0_5432"],
)
def test_a_patch_for_a_port_leaves_the_others_to_the_relay(match: str) -> None:
    before = "" if "filterChain" in match else PROXY
    assert set(chains(plan_of(a_filter(network(match, before=before))))) == {"db"}


@pytest.mark.parametrize(
    "patch",
    [
        network(context="SIDECAR_INBOUND"),
        network(context="GATEWAY"),
        network("portNumber: 9"),
        network(before="envoy.filters.network.http_connection_manager"),
        "{applyTo: HTTP_FILTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: INSERT_FIRST, value: "
        "{name: lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}}",
        "{applyTo: CLUSTER, match: {cluster: {service: web.default.svc.cluster.local}}, "
        "patch: {operation: MERGE, value: {connect_timeout: 1s}}}",
    ],
)
def test_what_is_for_others_changes_nobodys_tier(patch: str) -> None:
    assert chains(plan_of(a_filter(patch))) == {}


def test_a_patch_of_a_cluster_is_for_what_leads_there() -> None:
    merge = f"{{applyTo: CLUSTER, match: {{cluster: {{service: {DB}}}}}, patch: {{operation: MERGE, value: {{"
    plan = plan_of(a_filter(merge + "connect_timeout: 1s}}}"))
    assert set(chains(plan)) == {"db"}
    (name,) = [name for name in plan.envoy[CLUSTERS] if name.startswith("outbound|5432|~")]
    assert plan.envoy[CLUSTERS][name].body["connect_timeout"] == "1s"


def test_a_patch_of_everybody_is_everybodys() -> None:
    plan = plan_of(a_filter(network("portNumber: 5672"), app="", namespace="istio-system"))
    assert chains(plan) == chains(plan, "other") == {"queue": PATCHED}


def test_envoy_gets_the_chains_without_patches_where_it_refuses_those_with() -> None:
    listener = plan_of(a_filter(network("portNumber: 5432"))).envoy[LISTENERS]["outbound|default/client|1"]
    assert listener.plain is not None
    (plain,) = [chain for chain in listener.plain().body["filter_chains"] if chain["name"].startswith("forward|")]
    assert [f["name"] for f in plain["filters"]].count("mine") == 0
    assert plain["filters"][-1]["name"] == PROXY
