"""Secrets of clients that are not ours: which they may ask for, and what they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.configs import destination_rule, virtual_service
from tests.support.gateways import gateway, server
from tests.support.others import BY_HAND, SIDECAR_ID, made_for, sidecar

from tidegate.compile.others.client import XDS_CLUSTER, Client, Sources, client
from tidegate.model import tls_files
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS, ResourceRef, Resources

DB = "outbound|5432||db.default.svc.cluster.local"
PAIR, ROOTS = "file-cert:/etc/certs/cert.pem~/etc/certs/key.pem", "file-root:/etc/certs/root.pem"
FILES = (
    "mode: MUTUAL, clientCertificate: /etc/certs/cert.pem, privateKey: /etc/certs/key.pem, "
    "caCertificates: /etc/certs/root.pem"
)


def rule(tls: str) -> str:
    return destination_rule("db", "db", f"trafficPolicy: {{tls: {{{tls}}}}}")


def asked(found: Resources, name: str = DB) -> dict[str, Any]:
    """Secrets that a cluster asks for: name -> where."""
    out: dict[str, Any] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "sds_config" in value:
                out[value["name"]] = value["sds_config"]
            for item in value.values():
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(found[CLUSTERS][name].body["transport_socket"])
    return out


# --- files of rules ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("own", [True, False], ids=["by itself", "from a node's agent"])
@pytest.mark.parametrize("who", [sidecar(), BY_HAND], ids=["sidecar", "by hand"])
def test_files_are_those_of_the_clients_own_container(who: Client, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node keeps them in a folder for each namespace, of which nobody else knows."""
    monkeypatch.setattr(tls_files, "_own", own)
    found = made_for(who, rule(FILES))
    assert set(asked(found)) == {PAIR, ROOTS}
    assert {ref.name for ref in found[CLUSTERS][DB].refs if ref.kind == SECRETS} == {PAIR, ROOTS}
    assert found[SECRETS][PAIR].body == {
        "name": PAIR,
        "tls_certificate": {
            "certificate_chain": {"filename": "/etc/certs/cert.pem"},
            "private_key": {"filename": "/etc/certs/key.pem"},
            "watched_directory": {"path": "/etc/certs"},
        },
    }
    assert found[SECRETS][ROOTS].body["validation_context"]["trusted_ca"] == {"filename": "/etc/certs/root.pem"}


def test_a_client_without_an_aggregated_stream_asks_its_own_cluster() -> None:
    assert all("api_config_source" in source for source in asked(made_for(BY_HAND, rule(FILES))).values())
    assert all("ads" in source for source in asked(made_for(sidecar(), rule(FILES))).values())


def test_authorities_of_the_system_are_a_file_as_well() -> None:
    found = made_for(sidecar(), rule("mode: SIMPLE"))
    assert set(asked(found)) == {"file-root:system"}
    assert found[SECRETS]["file-root:system"].body["validation_context"]["trusted_ca"]["filename"] == tls_files.SYSTEM


@pytest.mark.parametrize("who", [sidecar(), BY_HAND], ids=["sidecar", "by hand"])
def test_mutual_tls_of_the_mesh_is_by_the_files_that_istio_puts_there(who: Client) -> None:
    """Nobody proves who he is, so nobody gets a certificate from us."""
    found = made_for(who, rule("mode: ISTIO_MUTUAL"))
    pair, roots = "file-cert:/etc/certs/cert-chain.pem~/etc/certs/key.pem", "file-root:/etc/certs/root-cert.pem"
    assert set(asked(found)) == {pair, roots}
    assert found[SECRETS][pair].body["tls_certificate"]["private_key"] == {"filename": "/etc/certs/key.pem"}
    context = found[CLUSTERS][DB].body["transport_socket"]["typed_config"]
    assert context["sni"] == "outbound_.5432_._.db.default.svc.cluster.local"
    assert context["common_tls_context"]["alpn_protocols"] == ["istio"]


# --- Secrets of Kubernetes --------------------------------------------------------------------------------------------
EDGE = (
    gateway("edge", server(443, "HTTPS", '"*"', tls="mode: SIMPLE, credentialName: pair")),
    Authority().issue("shop.example").secret("pair"),
    virtual_service(
        "shop", "shop.example", "- route: [{destination: {host: web}}]", more="gateways: [istio-system/edge]"
    ),
)
ROUTER = "router~10.0.0.9~gw.istio-system~istio-system.svc.cluster.local"
LABELS = {"LABELS": {"istio": "ingressgateway"}}


def test_a_gateway_that_is_known_ends_tls() -> None:
    found = made_for(client(ROUTER, LABELS, realm="istio-system"), *EDGE)
    assert list(found[LISTENERS]) == ["0.0.0.0_443"]
    assert "private_key" in found[SECRETS]["kubernetes://pair"].body["tls_certificate"]


@pytest.mark.parametrize("realm", ["", "default"])
def test_nobody_gets_the_secrets_of_another_namespace_by_saying_that_he_is_of_it(realm: str) -> None:
    found = made_for(client(ROUTER, {**LABELS, "NAMESPACE": "istio-system"}, realm=realm), *EDGE)
    assert "0.0.0.0_443" not in found[LISTENERS]
    everything = json.dumps(
        {kind: [item.body for item in table.values()] for kind, table in found.items()}, default=str
    )
    assert "private_key" not in everything


def test_where_a_client_comes_from_counts_more_than_its_name() -> None:
    who = client(SIDECAR_ID, {"NAMESPACE": "istio-system"}, realm="elsewhere")
    assert (who.namespace, who.known) == ("elsewhere", True)
    assert who.pod is not None
    assert who.pod.namespace == "elsewhere"
    assert client(SIDECAR_ID, {}).known is False


def test_a_gateway_that_is_known_begins_tls_by_secrets_of_its_namespace() -> None:
    text = rule("mode: MUTUAL, credentialName: to-db")
    pair = Authority().issue("gw").secret("to-db", ca=Authority().certificate)
    known = made_for(client(ROUTER, LABELS, realm="istio-system"), text, pair)
    assert set(asked(known)) == {"kubernetes://to-db", "kubernetes://to-db-cacert"}
    assert {"kubernetes://to-db", "kubernetes://to-db-cacert"} <= set(known[SECRETS])
    stranger = made_for(client(ROUTER, LABELS), text, pair)
    assert not [name for name in stranger[SECRETS] if name.startswith("kubernetes:")]


# --- certificates in files of a gateway -------------------------------------------------------------------------------
PATHS = "serverCertificate: /c/tls.crt, privateKey: /c/tls.key"
TO_WEB = virtual_service(
    "shop", "shop.example", "- route: [{destination: {host: web}}]", more="gateways: [istio-system/edge]"
)
BY_TYPE = Sources(XDS_CLUSTER)


def edge(tls: str) -> tuple[str, str]:
    return gateway("edge", server(443, "HTTPS", '"*"', tls=tls)), TO_WEB


@pytest.mark.parametrize("sources", [Sources(), BY_TYPE, Sources(XDS_CLUSTER, delta=True)])
def test_a_gateway_is_told_where_its_certificates_are_and_how_to_ask(sources: Sources) -> None:
    found = made_for(client(ROUTER, LABELS, sources), *edge(f"mode: MUTUAL, {PATHS}, caCertificates: /c/ca.crt"))
    pair, roots = "file-cert:/c/tls.crt~/c/tls.key", "file-root:/c/ca.crt"
    assert found[SECRETS][pair].body == {
        "name": pair,
        "tls_certificate": {
            "certificate_chain": {"filename": "/c/tls.crt"},
            "private_key": {"filename": "/c/tls.key"},
            "watched_directory": {"path": "/c"},
        },
    }
    assert found[SECRETS][roots].body["validation_context"]["trusted_ca"] == {"filename": "/c/ca.crt"}
    listener = found[LISTENERS]["0.0.0.0_443"]
    assert {ResourceRef(SECRETS, pair), ResourceRef(SECRETS, roots)} <= listener.refs
    told = json.dumps([listener.body, *(resource.body for resource in found[CLUSTERS].values())])
    assert told.count('"ads"') == (0 if sources.cluster else told.count("resource_api_version"))
    assert told.count("DELTA_GRPC") == (told.count("resource_api_version") if sources.delta else 0)


def test_a_list_of_the_revoked_in_a_file_stands_beside_authorities_wherever_they_are() -> None:
    in_files = f"mode: MUTUAL, {PATHS}, caCertificates: /c/ca.crt, caCrl: /c/ca.crl"
    found = made_for(client(ROUTER, LABELS), *edge(in_files))
    assert found[SECRETS]["file-root:/c/ca.crt~/c/ca.crl"].body["validation_context"]["crl"] == {
        "filename": "/c/ca.crl"
    }
    in_secret = "mode: MUTUAL, credentialName: pair, caCrl: /c/ca.crl"
    pair = Authority().issue("shop.example").secret("pair", ca=Authority().certificate)
    known = made_for(client(ROUTER, LABELS, realm="istio-system"), *edge(in_secret), pair)
    context = known[SECRETS]["kubernetes://pair-cacert~/c/ca.crl"].body["validation_context"]
    assert context["crl"] == {"filename": "/c/ca.crl"}
    assert "inline_bytes" in context["trusted_ca"]
