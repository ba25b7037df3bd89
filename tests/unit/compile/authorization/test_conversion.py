"""What an AuthorizationPolicy becomes for connections, as `tidegate compile` shows it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.authorizations import policy_of
from tests.support.configs import config_of, mesh_config

from tidegate.compile.authorization.in_force import Policies
from tidegate.compile.authorization.protojson import authorization
from tidegate.model.authorization import AuthorizationAction
from tidegate.model.mesh import Mesh

DOMAINS = mesh_config("trustDomain: new.example\ntrustDomainAliases: [old.example]")


def policy(spec: str, name: str = "p", namespace: str = "shop", more: str = "") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}, {more}}}
spec: {{{spec}}}
"""


def messages(mesh: Mesh) -> list[dict[str, Any]]:
    return [message for one in Policies(mesh).all() if (message := authorization(one)) is not None]


def clauses(spec: str, *more: str) -> list[list[list[dict[str, Any]]]]:
    """Of each rule the clauses, of each the matches."""
    [message] = messages(config_of(policy(spec), *more))
    return [[clause["matches"] for clause in rule["clauses"]] for rule in message["rules"]]


def test_a_policy_says_everything_that_the_workload_api_has() -> None:
    texts = '["*", "a*", "*b", "c"]'
    told = [{"presence": {}}, {"prefix": "a"}, {"suffix": "b"}, {"exact": "c"}]
    source = f"principals: {texts}, notPrincipals: {texts}, namespaces: {texts}, notNamespaces: {texts}"
    source += ", ipBlocks: [10.1.2.3, 10.4.5.6/16], notIpBlocks: ['2001:db8::/32']"
    spec = f"rules: [{{from: [{{source: {{{source}}}}}, {{source: {{serviceAccounts: [cart, web/cart]}}}}]"
    spec += ", to: [{operation: {ports: ['80', '81'], notPorts: ['82']}}]"
    spec += ", when: [{key: destination.ip, values: [10.0.0.0/8], notValues: [10.0.0.1]}]}]"
    assert clauses(spec) == [
        [
            [{"destinationPorts": [80, 81], "notDestinationPorts": [82]}],
            [
                {
                    "namespaces": told,
                    "notNamespaces": told,
                    "principals": told,
                    "notPrincipals": told,
                    "sourceIps": [{"address": "CgECAw==", "length": 32}, {"address": "CgQAAA==", "length": 16}],
                    "notSourceIps": [{"address": "IAENuAAAAAAAAAAAAAAAAA==", "length": 32}],
                },
                {
                    "serviceAccounts": [
                        {"namespace": "shop", "serviceAccount": "cart"},
                        {"namespace": "web", "serviceAccount": "cart"},
                    ]
                },
            ],
            [
                {
                    "destinationIps": [{"address": "CgAAAA==", "length": 8}],
                    "notDestinationIps": [{"address": "CgAAAQ==", "length": 32}],
                }
            ],
        ]
    ]


def test_what_is_shown_can_be_read_again() -> None:
    spec = "action: DENY, rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {ports: ['80']}}]}]"
    [one] = Policies(config_of(policy(spec))).all()
    message = authorization(one)
    assert message is not None
    assert policy_of(message).rules == one.rules


@pytest.mark.parametrize(
    ("namespace", "spec", "scope"),
    [
        ("shop", "rules: [{}]", "NAMESPACE"),
        ("istio-system", "rules: [{}]", "GLOBAL"),
        ("shop", "selector: {matchLabels: {app: a}}, rules: [{}]", "WORKLOAD_SELECTOR"),
        ("istio-system", "selector: {matchLabels: {app: a}}, rules: [{}]", "WORKLOAD_SELECTOR"),
    ],
)
def test_scope(namespace: str, spec: str, scope: str) -> None:
    [message] = messages(config_of(policy(spec, namespace=namespace)))
    assert (message["scope"], message["action"], message["rules"]) == (scope, "ALLOW", [{"clauses": []}])
    assert "dryRun" not in message


def test_one_on_trial_says_so() -> None:
    [message] = messages(config_of(policy("rules: [{}]", more="annotations: {istio.io/dry-run: 'true'}")))
    assert message["dryRun"] is True


@pytest.mark.parametrize(
    "asked",
    [
        "to: [{operation: {methods: [GET]}}, {operation: {ports: ['80']}}]",
        "to: [{operation: {ports: ['80'], notPaths: [/a]}}]",
        "from: [{source: {requestPrincipals: ['*'], namespaces: [a]}}]",
        "from: [{source: {trustDomains: [a]}}]",
        "when: [{key: 'request.headers[a]', values: [b]}]",
        "when: [{key: connection.sni, values: [b]}]",
    ],
)
def test_a_rule_that_allows_requests_allows_no_connection(asked: str) -> None:
    assert clauses(f"rules: [{{{asked}}}]") == []


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("to: [{operation: {methods: [GET], ports: ['80']}}]", [[{"destinationPorts": [80]}]]),
        # One of two operations is always fulfilled, and so are both together.
        ("to: [{operation: {methods: [GET]}}, {operation: {ports: ['80']}}]", []),
        ("from: [{source: {requestPrincipals: ['*']}}], to: [{operation: {paths: [/a]}}]", []),
        (
            "from: [{source: {namespaces: [a]}}], when: [{key: connection.sni, values: [b]}]",
            [[{"namespaces": [{"exact": "a"}]}]],
        ),
    ],
)
def test_a_rule_that_denies_requests_denies_connections_by_what_is_left_of_it(asked: str, left: list[Any]) -> None:
    assert clauses(f"action: DENY, rules: [{{{asked}}}]") == [left]


@pytest.mark.parametrize(
    ("asked", "addresses"),
    [
        ("remoteIpBlocks: [10.0.0.0/8]", [("CgAAAA==", 8)]),
        ("ipBlocks: [10.0.0.0/8, 11.0.0.0/8], remoteIpBlocks: [10.1.0.0/16, 12.0.0.0/8]", [("CgEAAA==", 16)]),
        ("ipBlocks: [10.1.0.0/16], remoteIpBlocks: [10.0.0.0/8, '::/0']", [("CgEAAA==", 16)]),
    ],
)
def test_a_remote_address_is_where_a_connection_comes_from(asked: str, addresses: list[tuple[str, int]]) -> None:
    [[[match]]] = clauses(f"rules: [{{from: [{{source: {{{asked}}}}}]}}]")
    assert [(one["address"], one["length"]) for one in match["sourceIps"]] == addresses


def test_addresses_that_nobody_can_have_match_nobody() -> None:
    asked = "{source: {ipBlocks: [10.0.0.0/8], remoteIpBlocks: [11.0.0.0/8]}}"
    assert clauses(f"rules: [{{from: [{asked}]}}]") == []
    [[[match]]] = clauses(f"rules: [{{from: [{asked}, {{source: {{namespaces: [a]}}}}]}}]")
    assert match == {"namespaces": [{"exact": "a"}]}
    [[[match]]] = clauses("rules: [{from: [{source: {notIpBlocks: [10.0.0.1], notRemoteIpBlocks: [10.0.0.2]}}]}]")
    assert [one["address"] for one in match["notSourceIps"]] == ["CgAAAQ==", "CgAAAg=="]


@pytest.mark.parametrize(
    ("principal", "told"),
    [
        ("new.example/ns/a/sa/b", ["new.example/ns/a/sa/b", "old.example/ns/a/sa/b"]),
        ("old.example/ns/a/sa/b", ["new.example/ns/a/sa/b", "old.example/ns/a/sa/b"]),
        ("cluster.local/ns/a/sa/b", ["new.example/ns/a/sa/b", "old.example/ns/a/sa/b"]),
        ("other.example/ns/a/sa/b", ["other.example/ns/a/sa/b"]),
        ("new.example", ["new.example"]),
    ],
)
def test_a_principal_of_the_mesh_has_all_of_its_trust_domains(principal: str, told: list[str]) -> None:
    [[[match]]] = clauses(f"rules: [{{from: [{{source: {{principals: [{principal}]}}}}]}}]", DOMAINS)
    assert [one["exact"] for one in match["principals"]] == told


def test_audit_is_decided_here_and_told_to_nobody() -> None:
    mesh = config_of(policy("action: AUDIT, rules: [{to: [{operation: {ports: ['80']}}]}]"))
    assert [one.action for one in Policies(mesh).all()] == [AuthorizationAction.AUDIT]
    assert messages(mesh) == []


def test_what_is_not_supported_is_nowhere() -> None:
    custom = policy("action: CUSTOM, provider: {name: x}, rules: [{}]", "custom")
    targeted = policy("targetRefs: [{kind: Service, name: a}], rules: [{}]", "targeted")
    assert messages(config_of(custom, targeted)) == []


def test_a_policy_that_did_not_change_is_the_same_object() -> None:
    kept, before, after = policy("rules: [{}]", "kept"), policy("rules: [{}]", "one"), policy("rules: []", "one")
    first = config_of(kept, before)
    old = Policies(first)
    new = Policies(config_of(kept, after), old)
    assert [one.rules for one in new.all()] == [((),), ()]
    same = Policies(first, old)
    assert all(a is b for a, b in zip(old.all(), same.all(), strict=True))
