"""PeerAuthentication and AuthorizationPolicy seen from the pods: who reaches a server, and who does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, PROBE, Lab

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
"""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: talk}}
"""
CART = "cluster.local/ns/shop/sa/cart"
READER, SHOP, STRANGER = ("client", "default"), ("client", "shop"), ("stranger", "plain")
EVERYBODY = (READER, SHOP, STRANGER)


def policy(spec: str, name: str = "talk") -> str:
    return POLICY.replace("NAME", name) + "".join(f"  {line}\n" for line in spec.strip().splitlines())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("policy")
    lab.up(MANIFESTS / "policy.yaml")
    yield lab
    lab.down()


@pytest.fixture
def apply(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Apply policies; removed afterwards."""

    def applied(text: str) -> None:
        lab.apply(text)

    yield applied
    lab.delete(lab.run_dir / "applied-by-test.yaml")


def answered(lab: Lab, who: tuple[str, str], host: str, port: int = 7001, family: str = "4") -> dict[str, Any]:
    """What a pod saw of a connection; {} if it was refused or cut."""
    seen = lab.probe(who[0], "dial", host, str(port), "--family", family, namespace=who[1])
    return {} if "error" in seen else seen


def those_who_pass(lab: Lab, host: str, port: int = 7001, family: str = "4") -> tuple[tuple[str, str], ...]:
    return tuple(who for who in EVERYBODY if answered(lab, who, host, port, family))


def rows(lab: Lab) -> dict[str, dict[str, Any]]:
    """`tidegate policies` by name."""
    found: list[dict[str, Any]] = json.loads(
        lab.tidegate("policies", "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout
    )
    return {row["policy"]: row for row in found}


@pytest.mark.parametrize("family", ["4", "6"])
def test_strict_refuses_who_is_in_no_mesh(lab: Lab, apply: Callable[[str], None], family: str) -> None:
    address = lab.address("default/server", family)
    assert those_who_pass(lab, address, family=family) == EVERYBODY, "nothing is said, nobody is refused"
    refused = lab.metric("tidegate_policy_decisions_total", verdict="deny_by_policy")
    apply(STRICT)
    assert those_who_pass(lab, address, family=family) == (READER, SHOP)
    eventually(
        lambda: lab.metric("tidegate_policy_decisions_total", verdict="deny_by_policy") >= refused + 1,
        "the refusal is counted",
    )
    log = (lab.node_dirs()[0] / "agent.log").read_text()
    assert "deny_by_policy: policy=istio-system/istio_converted_static_strict" in log, "and logged with the policy"
    assert lab.address("plain/stranger", family) in log


def test_the_application_sees_its_client_by_whichever_way(lab: Lab, apply: Callable[[str], None]) -> None:
    apply(STRICT)
    own = lab.address("default/client", "4")
    for host, port in ((lab.address("default/server", "4"), 7001), ("talk", 7000)):
        seen = answered(lab, READER, host, port)
        assert seen["server"]["client"] == own, "directly, and by the relay in front of the client"
    direct = answered(lab, READER, lab.address("default/server", "4"))
    assert direct["server"]["local"] == lab.address("default/server", "4")


@pytest.mark.parametrize(
    ("spec", "passed"),
    [
        (f"rules: [{{from: [{{source: {{principals: [{CART}]}}}}]}}]", (SHOP,)),
        ("rules: [{from: [{source: {namespaces: [default]}}]}]", (READER,)),
        ("rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]", (SHOP,)),
        ("action: DENY\nrules: [{from: [{source: {notNamespaces: [shop]}}]}]", (SHOP,)),
        ("rules: [{to: [{operation: {ports: ['7002']}}]}]", ()),
        ("rules: [{to: [{operation: {ports: ['7001']}}]}]", EVERYBODY),
        ("rules: [{to: [{operation: {methods: [GET]}}]}]", ()),
        ("action: AUDIT\nrules: [{}]", EVERYBODY),
        ("{}", ()),
    ],
)
def test_who_reaches_a_server(
    lab: Lab, apply: Callable[[str], None], spec: str, passed: tuple[tuple[str, str], ...]
) -> None:
    text = POLICY.replace("NAME", "talk") if spec == "{}" else policy(spec)
    apply(text)
    assert those_who_pass(lab, lab.address("default/server", "4")) == passed
    assert rows(lab)["default/talk"]["in_force"]


def test_an_address_is_what_ip_blocks_ask_for(lab: Lab, apply: Callable[[str], None]) -> None:
    stranger = lab.address("plain/stranger", "4")
    apply(policy(f"rules: [{{from: [{{source: {{ipBlocks: [{stranger}]}}}}]}}]"))
    assert those_who_pass(lab, lab.address("default/server", "4")) == (STRANGER,)


def test_what_is_on_trial_is_told_and_refuses_nobody(lab: Lab, apply: Callable[[str], None]) -> None:
    trial = policy("action: DENY\nrules: [{}]").replace(
        "{name: talk}", "{name: talk, annotations: {istio.io/dry-run: 'true'}}"
    )
    apply(trial)
    assert those_who_pass(lab, lab.address("default/server", "4")) == EVERYBODY
    eventually(
        lambda: lab.metric("tidegate_policy_would_total", verdict="deny_by_policy", policy="default/talk") >= 3,
        "what it would have done is counted",
    )


def test_the_nodes_probes_pass_and_nothing_else_of_the_node(lab: Lab, apply: Callable[[str], None]) -> None:
    apply(STRICT)

    def from_the_node(port: int) -> dict[str, Any]:
        command = (sys.executable, PROBE, "dial", lab.address("default/server", "4"), str(port), "--family", "4")
        seen: dict[str, Any] = json.loads(lab.tidegate("lab", "node-exec", "node1", "--", *command).stdout)
        return seen

    assert "server" in from_the_node(7001), "the port of the readiness probe"
    assert "error" in from_the_node(7002)
    assert lab.pods()["default/server"]["ready"], "and the pod stays ready"


def test_a_pod_reaches_itself(lab: Lab, apply: Callable[[str], None]) -> None:
    apply(policy("action: DENY\nrules: [{}]"))
    assert those_who_pass(lab, lab.address("default/server", "4")) == ()
    for host in (lab.address("default/server", "4"), "127.0.0.1"):
        assert answered(lab, ("server", "default"), host), host


def test_what_people_are_told(lab: Lab, apply: Callable[[str], None]) -> None:
    apply(policy("rules: [{from: [{source: {namespaces: [shop]}}]}]"))
    row = rows(lab)["default/talk"]
    assert (row["action"], row["in_force"], row["pods"]) == ("ALLOW", True, ["default/server"])
    table = lab.tidegate("policies", "--run-dir", lab.node_dirs()[0]).stdout
    assert "default/talk" in table
    said = lab.tidegate("explain", "default/client", "talk:7000", "--run-dir", lab.node_dirs()[0]).stdout
    assert "refused (DENY_NOT_ALLOWED), in force: the relay in front of the pod decides" in said
