"""Mutual TLS of the mesh at a gateway: it is one workload, towards clients and towards servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.configs import destination_rule, mesh_config, pod, service, virtual_service
from tests.support.gateways import compiled, gateway, judged, server
from tests.support.mesh_origin import certified, mesh_authority

from tidegate.compile.envoy.identities import own_secrets
from tidegate.compile.gateway.compiler import GatewayPlan
from tidegate.compile.gateway.tls import Materials
from tidegate.model.identity import OWN, ROOTS
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS

WEB = service("web", "http:80", ips="10.96.0.1") + "---" + pod("web", "app: web", "10.0.0.3")
RULE = virtual_service("v", '"*"', "- route: [{destination: {host: web}}]", more="gateways: [edge]")
MUTUAL = destination_rule("web", "web", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
NAME = "outbound|80||web.default.svc.cluster.local"


def issued(folder: Path) -> Materials:
    held = certified(mesh_authority(folder), "edge")
    return Materials(of_the_mesh=own_secrets({held.identity: held}))


def at_443(tls: str, *documents: str, files: Materials | None) -> GatewayPlan:
    edge = gateway("edge", server(443, "HTTPS", '"*"', tls=tls), namespace="default")
    return compiled(WEB, RULE, edge, *documents, files=files)


def ended(plan: GatewayPlan) -> dict[str, Any]:
    (chain,) = plan.envoy[LISTENERS]["0.0.0.0_443"].body["filter_chains"]
    found: dict[str, Any] = chain["transport_socket"]["typed_config"]
    return found


def test_clients_of_the_mesh_get_through_and_only_they(tmp_path: Path) -> None:
    domains = mesh_config("trustDomain: td\ntrustDomainAliases: [old]")
    plan = at_443("mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3", domains, files=issued(tmp_path / "ca"))
    context = ended(plan)
    common = context["common_tls_context"]
    assert context["require_client_certificate"]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert [one["name"] for one in common["tls_certificate_sds_secret_configs"]] == [OWN]
    combined = common["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"]["name"] == ROOTS
    names = combined["default_validation_context"]["match_typed_subject_alt_names"]
    assert [one["matcher"]["prefix"] for one in names] == ["spiffe://td/ns/", "spiffe://old/ns/"]
    assert set(plan.envoy[SECRETS]) == {OWN, ROOTS}
    assert plan.asks_for_identity
    assert judged(plan, tmp_path) == ""


def test_names_that_the_server_says_are_the_only_ones(tmp_path: Path) -> None:
    who = "spiffe://cluster.local/ns/default/sa/cart"
    plan = at_443(f"mode: ISTIO_MUTUAL, subjectAltNames: ['{who}']", files=issued(tmp_path / "ca"))
    combined = ended(plan)["common_tls_context"]["combined_validation_context"]
    names = combined["default_validation_context"]["match_typed_subject_alt_names"]
    assert {one["matcher"].get("exact") for one in names} == {who}


def test_until_it_has_a_certificate_the_server_is_left_out_and_told(tmp_path: Path) -> None:
    plan = at_443("mode: ISTIO_MUTUAL", files=None)
    assert not plan.envoy[LISTENERS]
    assert [one.why for one in plan.left_out] == ["the mesh has issued no certificate to this workload yet"]
    assert plan.asks_for_identity


def test_towards_servers_it_shows_its_own(tmp_path: Path) -> None:
    edge = gateway("edge", server(80, "HTTP", '"*"'), namespace="default")
    plan = compiled(WEB, RULE, edge, MUTUAL, files=issued(tmp_path / "ca"))
    context = plan.envoy[CLUSTERS][NAME].body["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert [one["name"] for one in common["tls_certificate_sds_secret_configs"]] == [OWN]
    assert context["sni"] == "outbound_.80_._.web.default.svc.cluster.local"
    assert set(plan.envoy[SECRETS]) == {OWN, ROOTS}
    assert judged(plan, tmp_path) == ""
    (lacking,) = compiled(WEB, RULE, edge, MUTUAL).lacking
    assert "has issued no certificate" in lacking.consequence


def test_who_needs_no_certificate_asks_for_none() -> None:
    edge = gateway("edge", server(80, "HTTP", '"*"'), namespace="default")
    assert not compiled(WEB, RULE, edge).asks_for_identity
