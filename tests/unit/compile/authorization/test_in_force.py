"""Which policies count for which pod, in the plan and in what explain says."""

from __future__ import annotations

from typing import Any

from tests.support.configs import ENROLLED, config_of, pod, sandbox, service
from tests.unit.compile.authorization.test_conversion import policy
from tests.unit.compile.authorization.test_mutual import authentication

from tidegate.compile.authorization.in_force import FindPolicies
from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.render import render
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId

ALLOW = "rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/default]}}]}]"
POLICIES = (
    policy("rules: [{}]", "b-here", "default"),
    policy("selector: {matchLabels: {app: db}}, rules: [{}]", "c-chosen", "default"),
    policy("selector: {matchLabels: {app: db, tier: x}}, rules: [{}]", "not-chosen", "default"),
    policy("selector: {matchLabels: {}}, rules: [{}]", "d-all", "default"),
    policy("rules: [{}]", "elsewhere", "shop"),
    policy("rules: [{}]", "e-everywhere", "istio-system"),
    policy("selector: {matchLabels: {app: db}}, rules: [{}]", "f-chosen", "istio-system"),
    policy("action: AUDIT, rules: [{}]", "a-audit", "default"),
    policy("action: CUSTOM, provider: {name: x}, rules: [{}]", "custom", "default"),
)
CLIENT, SERVER = pod("client", "app: client", "10.244.0.1"), pod("db", "app: db", "10.244.0.2")
SERVICE = service("db", "tcp:90:9090", ips="10.96.0.5")
SANDBOXES = (sandbox("client", "10.244.0.1", cookie=1), sandbox("db", "10.244.0.2", cookie=2))


def facts(*texts: str, before: Facts | None = None) -> Facts:
    return join(config_of(ENROLLED, CLIENT, SERVER, SERVICE, *texts), SANDBOXES, before)


def listed(found: Facts, cookie: int) -> list[str]:
    table = compile_plan(found).policies
    return [table.policies[n - 1].key for n in table.workloads[cookie]]


def test_a_pod_has_those_of_its_namespace_its_labels_and_the_root() -> None:
    found = facts(*POLICIES)
    everybody = ["default/a-audit", "default/b-here", "default/d-all", "istio-system/e-everywhere"]
    assert listed(found, 1) == everybody
    assert listed(found, 2) == sorted([*everybody, "default/c-chosen", "istio-system/f-chosen"])


def test_a_pod_without_policies_is_known_and_others_are_not() -> None:
    table = compile_plan(facts()).policies
    assert (table.policies, table.workloads) == ((), {1: (), 2: ()})


def test_the_table_is_the_same_object_until_something_changed() -> None:
    compiler, found = Compiler(), facts(*POLICIES)
    first = compiler.compile(found).policies
    assert compiler.compile(found).policies is first
    same = compiler.compile(facts(*POLICIES, before=found)).policies
    assert same is first
    other = compiler.compile(facts(*POLICIES[1:], before=found)).policies
    assert other is not first
    assert other == compile_plan(facts(*POLICIES[1:])).policies


def test_policies_are_found_anew_when_pods_change() -> None:
    find, found = FindPolicies(), facts(*POLICIES)
    both = find(found.mesh, found.clients)
    one = find(found.mesh, {2: found.clients[2]})
    assert set(both.workloads) == {1, 2}
    assert set(one.workloads) == {2}
    assert find(found.mesh, {}).workloads == {}


def told(*texts: str) -> dict[str, Any]:
    explanation = explain(facts(*texts), WorkloadId("default", "client"), "db", 90)
    assert explanation.verdict == "allow", "nothing is refused by it yet"
    text = render(explanation.as_json())
    found = explanation.as_json()["authorization"]
    assert bool(found) == bool("authorization" in text)
    return {**found[0], "text": text} if found else {}


def test_explain_says_nothing_where_there_are_no_policies() -> None:
    assert told() == {}


def test_explain_names_the_policy_that_decides_and_why_others_do_not() -> None:
    deny = policy("action: DENY, rules: [{to: [{operation: {ports: ['9090']}}]}]", "no-9090", "default")
    said = told(deny, policy(ALLOW, "allow", "default"), *POLICIES[2:3])
    assert (said["verdict"], said["allowed"], said["enforced"]) == ("deny_by_policy", False, True)
    assert (said["pods"], said["port"], said["client"]) == (
        ["default/db"],
        9090,
        "cluster.local/ns/default/sa/default",
    )
    assert [(one["name"], one["asked"], one["matches"], one["why"]) for one in said["policies"]] == [
        ("allow", True, True, "rule 0 fits"),
        ("no-9090", True, True, "rule 0 fits"),
        ("not-chosen", False, False, "default/db is not tier=x"),
    ]
    assert (
        "refused by default/no-9090 (DENY_BY_POLICY), in force: the relay in front of the pod decides" in said["text"]
    )


def test_explain_says_why_nobody_allows() -> None:
    first = "{from: [{source: {namespaces: [shop]}}], to: [{operation: {ports: ['90']}}]}"
    other = f"rules: [{first}, {{to: [{{operation: {{ports: ['80']}}}}]}}]"
    said = told(policy(other, "allow", "default"))
    assert said["verdict"] == "deny_not_allowed"
    [one] = said["policies"]
    assert one["why"] == "rule 0: port 9090 is not in [90]; rule 1: port 9090 is not in [80]"


def test_a_client_of_the_mesh_has_an_identity_and_another_has_none() -> None:
    strict = authentication("strict", "mtls: {mode: STRICT}")
    said = told(strict)
    assert (said["verdict"], said["mutual_tls"]) == ("allow_no_policy", "STRICT")
    outside = "apiVersion: v1\nkind: Pod\nmetadata: {name: guest, namespace: other}\nspec: {containers: []}\n"
    found = facts(strict, outside)
    hops = [hop.result for hop in explain(found, WorkloadId("other", "guest"), "10.244.0.2", 9090).hops]
    assert not any("authorization" in hop for hop in hops), "its connections are untouched, and nothing is said of them"
