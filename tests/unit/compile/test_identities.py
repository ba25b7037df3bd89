"""ISTIO_MUTUAL: whose certificate pods show, who servers have to be, and where it ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, mesh_config, pod, sandbox, service

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.facts import join
from tidegate.model.identity import Identity
from tidegate.model.mesh import Mesh
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS
from tidegate.model.plan.kernel import InboundPort

WEB = "web.default.svc.cluster.local"
WHOSE = "envoy.tls.certificate_mappers.on_demand_secret"


def as_account(document: str, account: str) -> str:
    """A pod document of another service account."""
    assert "spec: {" in document
    return document.replace("spec: {", f"spec: {{serviceAccountName: {account}, ", 1)


def mesh(*more: str, tls: str = "mode: ISTIO_MUTUAL", account: str = "server", port: str = "http:80:8080") -> Mesh:
    rule = (destination_rule("web", "web", f"trafficPolicy: {{tls: {{{tls}}}}}"),) if tls else ()
    return config_of(
        ENROLLED,
        service("web", port, ips="10.96.0.1"),
        as_account(pod("web", "app: web", "10.0.0.3"), account),
        as_account(pod("client", "app: client", "10.0.0.4"), "reader"),
        *rule,
        *more,
    )


def plan(config: Mesh) -> Plan:
    return compile_plan(join(config, [sandbox("client", "10.0.0.4", cookie=7), sandbox("web", "10.0.0.3", cookie=8)]))


def tls_of(made: Plan, name: str = f"outbound|80||{WEB}") -> dict[str, Any]:
    found: dict[str, Any] = made.envoy[CLUSTERS][name].body["transport_socket"]["typed_config"]
    return found


def names(made: Plan) -> list[str]:
    combined = tls_of(made)["common_tls_context"]["combined_validation_context"]
    return [one["matcher"]["exact"] for one in combined["default_validation_context"]["match_typed_subject_alt_names"]]


def states(made: Plan, listener: str) -> list[dict[str, str]]:
    """What each chain of a listener says of its connections."""
    chains = made.envoy[LISTENERS][listener].body["filter_chains"]
    filters = [one for chain in chains for one in chain["filters"] if "set_filter_state" in one["name"]]
    return [
        {state["object_key"]: state["format_string"]["text_format_source"]["inline_string"] for state in said}
        for said in (one["typed_config"]["on_new_connection"] for one in filters)
    ]


@pytest.mark.parametrize("port", ["http:80:8080", "tcp:80:8080"])
def test_every_chain_of_a_pod_says_whose_certificate_it_shows(port: str) -> None:
    said = states(plan(mesh(port=port)), "outbound|default/client|7")
    assert said
    assert {one[WHOSE] for one in said} == {"identity://default/reader"}


def test_certificates_are_needed_of_pods_in_the_mesh_and_only_if_a_rule_asks() -> None:
    assert plan(mesh(tls="")).identities == frozenset()
    assert plan(mesh(tls="mode: SIMPLE")).identities == frozenset()
    assert plan(mesh()).identities == {Identity("default", "reader"), Identity("default", "server")}
    told = plan(mesh(mesh_config("trustDomain: corp.example")))
    assert (told.trust_domain, plan(mesh()).trust_domain) == ("corp.example", "cluster.local")


def test_a_rule_changes_no_listener_of_a_client() -> None:
    before, after = plan(mesh(tls="")), plan(mesh())
    name = "outbound|default/client|7"
    assert before.envoy[LISTENERS][name].body == after.envoy[LISTENERS][name].body


def test_another_trust_domain_changes_no_listener_of_a_client() -> None:
    before, after = plan(mesh()), plan(mesh(mesh_config("trustDomain: corp.example")))
    name = "outbound|default/client|7"
    assert before.envoy[LISTENERS][name].body == after.envoy[LISTENERS][name].body


def test_the_server_has_to_be_who_serves_there() -> None:
    assert names(plan(mesh())) == ["spiffe://cluster.local/ns/default/sa/server"]
    both = "trustDomain: td\ntrustDomainAliases: [old]"
    assert names(plan(mesh(mesh_config(both)))) == [f"spiffe://{d}/ns/default/sa/server" for d in ("td", "old")]
    assert names(plan(mesh(tls="mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://a/b']"))) == ["spiffe://a/b"]


def test_the_name_that_is_asked_for_is_istios_unless_the_rule_says_one() -> None:
    assert tls_of(plan(mesh()))["sni"] == f"outbound_.80_._.{WEB}"
    assert tls_of(plan(mesh(tls="mode: ISTIO_MUTUAL, sni: other")))["sni"] == "other"


@pytest.mark.parametrize(
    ("port", "offered"),
    [
        ("http:80:8080", ["istio", "http/1.1"]),
        ("grpc:80:8080", ["istio-h2", "istio", "h2"]),
        ("tcp:80:8080", ["istio"]),
    ],
)
def test_what_is_offered_says_that_a_client_is_of_the_mesh_and_what_it_speaks(port: str, offered: list[str]) -> None:
    made = tls_of(plan(mesh(port=port)))
    assert made["common_tls_context"]["alpn_protocols"] == offered
    assert made["max_session_keys"] == 0, "one client's session is never another's"


def test_a_server_that_runs_as_somebody_else_changes_its_cluster() -> None:
    compiler = Compiler()
    here = [sandbox("client", "10.0.0.4", cookie=7)]
    facts = join(mesh(), here)
    assert names(compiler.compile(facts)) == ["spiffe://cluster.local/ns/default/sa/server"]
    facts = join(mesh(account="other"), here, facts)
    assert names(compiler.compile(facts)) == ["spiffe://cluster.local/ns/default/sa/other"]


def test_no_key_is_in_a_plan() -> None:
    assert not any("PRIVATE" in repr(table) for table in plan(mesh()).envoy.values())


def test_it_ends_in_front_of_pods_of_the_mesh_and_plain_connections_pass() -> None:
    made = plan(mesh())
    body = made.envoy[LISTENERS]["inbound|default/web|8"].body
    secured, plain = body["filter_chains"]
    assert secured["filter_chain_match"] == {
        **plain["filter_chain_match"],
        "transport_protocol": "tls",
        "application_protocols": ["istio-http/1.1", "istio-h2", "istio", "istio-peer-exchange"],
    }
    assert "transport_socket" not in plain
    context = secured["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert context["require_client_certificate"]
    assert [one["name"] for one in common["tls_certificate_sds_secret_configs"]] == ["served-by://default/server"]
    told = [one["typed_config"].get("forward_client_cert_details") for one in secured["filters"]]
    assert told[-1] == "APPEND_FORWARD"
    assert body["listener_filters"][-1]["filter_disabled"] == {
        "not_match": {"destination_port_range": {"start": 8080, "end": 8081}}
    }
    (server,) = (one for one in made.pods if one.netns_cookie == 8)
    assert InboundPort(8, 8080, 4) in server.inbound_ports
    assert "inbound|default/web|8" not in plan(mesh(tls="")).envoy[LISTENERS]


def test_rules_for_other_hosts_put_nothing_in_front_of_a_pod() -> None:
    other = destination_rule("other", "other.example", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
    assert "inbound|default/web|8" not in plan(mesh(other, tls="")).envoy[LISTENERS]
    everybody = destination_rule("all", "*.cluster.local", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
    assert "inbound|default/web|8" in plan(mesh(everybody, tls="")).envoy[LISTENERS]
