"""Which DestinationRule is whose: places, hosts, exportTo, selectors, and what is laid over what."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, destination_rule, mesh_config, service

from tidegate.compile.derive import Read
from tidegate.compile.facts import join
from tidegate.compile.rules import DestinationPolicy, Rules
from tidegate.compile.visibility import Source
from tidegate.model.names import ServiceName
from tidegate.model.traffic import Balancing, ProxyProtocol, TlsMode

WEB = ServiceName("default", "web")
HOST = "web.default.svc.cluster.local"


def rules_of(*texts: str) -> Rules:
    return Rules(Read(join(config_of(service("web", "http:80", "http-b:81"), *texts), ()).tables))


def rule(name: str, spec: str, namespace: str = "default", host: str = HOST) -> str:
    return destination_rule(name, host, spec, namespace=namespace)


def simple(how: str, more: str = "") -> str:
    return f"{more}\ntrafficPolicy: {{loadBalancer: {{simple: {how}}}}}"


def balancing(policy: DestinationPolicy, port: int = 80, subset: str = "") -> Balancing | None:
    chosen = policy.for_port(port, subset).load_balancer
    return chosen.balancing if chosen else None


def of(rules: Rules, namespace: str = "default", **labels: str) -> Balancing | None:
    return balancing(rules.policy_of(WEB, Source(namespace, labels)))


TEAM_A = "workloadSelector: {matchLabels: {team: a}}"


def test_a_rule_with_a_selector_is_for_clients_of_its_namespace_that_have_the_labels() -> None:
    rules = rules_of(rule("all", simple("RANDOM")), rule("own", simple("ROUND_ROBIN", TEAM_A)))
    assert of(rules, team="a", other="x") is Balancing.ROUND_ROBIN
    assert of(rules, team="b") is Balancing.RANDOM
    assert of(rules, "elsewhere", team="a") is Balancing.RANDOM, "a selector looks into its own namespace only"


def test_who_is_not_selected_has_what_the_service_says() -> None:
    rules = rules_of(rule("all", simple("RANDOM")), rule("own", simple("ROUND_ROBIN", TEAM_A), "shop"))
    assert of(rules, "shop", team="a") is Balancing.ROUND_ROBIN
    assert of(rules, "shop") is Balancing.RANDOM


def test_the_more_special_host_comes_before_the_selector() -> None:
    rules = rules_of(
        rule("exact", simple("RANDOM")), rule("own", simple("ROUND_ROBIN", TEAM_A), host="*.default.svc.cluster.local")
    )
    assert of(rules, team="a") is Balancing.RANDOM
    assert of(rules_of(rule("own", simple("ROUND_ROBIN", TEAM_A), host="*.cluster.local")), team="a") is not None


def test_selected_clients_have_a_scope_of_their_own() -> None:
    rules = rules_of(rule("all", simple("RANDOM")), rule("own", simple("ROUND_ROBIN", TEAM_A)))
    scopes = {labels: rules.policy_scope(WEB, Source("default", {"team": labels})) for labels in ("a", "b")}
    assert scopes == {"a": "default/own", "b": ""}
    assert balancing(rules.policy(WEB, "default/own")) is Balancing.ROUND_ROBIN
    assert rules.labels_compared(WEB, "default") == {"team"}
    assert rules.labels_compared(WEB, "shop") == frozenset()


def test_a_scope_says_the_labels_that_put_endpoints_in_order() -> None:
    order = "failoverPriority: [version, topology.kubernetes.io/zone, 'tier=x', app]"
    rules = rules_of(rule("d", f"trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{order}}}}}}}"))
    assert rules.labels_compared(WEB, "shop") == {"app", "version"}
    client = Source("shop", {"version": "v1", "other": "x"})
    assert rules.policy_scope(WEB, client) == "default;app=;version=v1", "who has the same labels shares a cluster"
    assert rules.policy(WEB, "default;app=;version=v1") == rules.policy(WEB, "default")


def test_rules_are_united_if_they_are_for_the_same_clients() -> None:
    def named(name: str, more: str = "") -> str:
        return rule(name, f"{more}\nsubsets: [{{name: {name}, labels: {{v: {name}}}}}]")

    def subsets(*texts: str, **labels: str) -> set[str]:
        return {s.name for s in rules_of(*texts).policy_of(WEB, Source("default", labels)).subsets}

    assert subsets(named("a"), named("b")) == {"a", "b"}
    assert subsets(named("a", "exportTo: ['.']"), named("b", "exportTo: [default]")) == {"a", "b"}
    assert subsets(named("a", "exportTo: ['.']"), named("b")) == {"a"}, "the oldest"
    assert subsets(named("a", TEAM_A), named("b")) == {"b"}
    assert subsets(named("a", TEAM_A), named("b"), named("c", TEAM_A), team="a") == {"a", "c"}


def test_rules_of_the_root_namespace_are_asked_last_whatever_its_name() -> None:
    root, own = rule("root", simple("RANDOM"), "base"), rule("own", simple("ROUND_ROBIN"))
    mesh = mesh_config("rootNamespace: base")
    assert of(rules_of(root, mesh), "shop") is Balancing.RANDOM
    assert of(rules_of(root), "shop") is None, "without the name it is a namespace like any other"
    assert of(rules_of(root, own, mesh), "shop") is Balancing.ROUND_ROBIN
    assert of(rules_of(root, own, mesh), "base") is Balancing.ROUND_ROBIN, "its own clients ask it last, too"
    selected = rule("root", simple("RANDOM", TEAM_A), "base")
    assert of(rules_of(selected, own, mesh), "base", team="a") is Balancing.ROUND_ROBIN
    assert of(rules_of(selected, mesh), "base", team="a") is Balancing.RANDOM


def test_a_rule_that_says_nothing_is_exported_as_the_mesh_says() -> None:
    mesh = mesh_config('defaultDestinationRuleExportTo: ["."]')
    assert of(rules_of(rule("d", simple("RANDOM")), mesh), "shop") is None
    assert of(rules_of(rule("d", simple("RANDOM")), mesh)) is Balancing.RANDOM
    assert of(rules_of(rule("d", simple("RANDOM", 'exportTo: ["*"]')), mesh), "shop") is Balancing.RANDOM
    named = (rule(n, f"{to}\nsubsets: [{{name: {n}}}]") for n, to in (("a", ""), ("b", "exportTo: ['.']")))
    assert {s.name for s in rules_of(*named, mesh).policy(WEB, "default").subsets} == {"a", "b"}, (
        "both are for the same clients"
    )


def test_what_the_mesh_says_of_traffic_holds_where_no_rule_says_it() -> None:
    mesh = mesh_config(
        """
        tcpKeepalive: {time: 60s, probes: 3}
        h2UpgradePolicy: UPGRADE
        defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, outlierDetection: {interval: 9s}}
        """
    )
    own = "trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s, tcpKeepalive: {time: 5s}}}}"
    bare, said = (rules_of(*texts, mesh).policy(WEB, "shop") for texts in ((), (rule("d", own),)))
    pools = [policy.for_port(80).connection_pool for policy in (bare, said)]
    assert [p and (p.max_connections, p.connect_timeout_ms) for p in pools] == [(7, 0), (0, 1000)], "a block is whole"
    assert [p and (p.keepalive_time_ms, p.keepalive_probes, p.h2_upgrade) for p in pools] == [
        (60_000, 3, True),
        (5000, 3, True),
    ], "these are filled in field by field"
    assert [policy.for_port(80).outlier is not None for policy in (bare, said)] == [True, True]
    assert [origin.kind for origin in said.origins] == ["DestinationRule", "ConfigMap"]
    assert said.plain.for_port(80).outlier is None, "a cluster that Envoy refused goes without"


LEVELS = """
trafficPolicy:
  loadBalancer: {simple: RANDOM}
  tls: {mode: SIMPLE, sni: all}
  proxyProtocol: {version: V1}
  retryBudget: {percent: 50}
  portLevelSettings:
  - port: {number: 81}
    outlierDetection: {interval: 1s}
subsets:
- name: blocks
  trafficPolicy: {tls: {mode: DISABLE}}
- name: port
  trafficPolicy:
    proxyProtocol: {version: V2}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}]
"""


@pytest.mark.parametrize(
    ("port", "subset", "balancing", "tls", "proxy", "budget"),
    [
        (80, "", Balancing.RANDOM, "all", ProxyProtocol.V1, 50.0),
        (81, "", None, None, None, None),
        (80, "blocks", Balancing.RANDOM, TlsMode.DISABLE, ProxyProtocol.V1, 50.0),
        (81, "blocks", None, TlsMode.DISABLE, None, None),
        (80, "port", Balancing.ROUND_ROBIN, None, ProxyProtocol.V2, 50.0),
        (81, "port", None, None, ProxyProtocol.V2, None),
    ],
)
def test_what_is_laid_over_what(
    port: int,
    subset: str,
    balancing: Balancing | None,
    tls: str | TlsMode | None,
    proxy: ProxyProtocol | None,
    budget: float | None,
) -> None:
    """An entry for a port replaces all at its level; of what it cannot say only a subset's keeps the level below."""
    settings = rules_of(rule("d", LEVELS)).policy(WEB, "default").for_port(port, subset)
    assert (settings.load_balancer.balancing if settings.load_balancer else None) is balancing
    assert (settings.tls and (settings.tls.sni or settings.tls.mode)) == tls
    assert settings.proxy_protocol is proxy
    assert (settings.retry_budget.percent if settings.retry_budget else None) == budget
