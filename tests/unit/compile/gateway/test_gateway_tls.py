"""Servers that end TLS: which certificate, whose clients, and what happens when it is not there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.certificates import Authority, secret
from tests.support.configs import service, virtual_service
from tests.support.gateways import compiled, gateway, hosts_at, server

from tidegate.compile.gateway.compiler import GatewayPlan
from tidegate.compile.gateway.tls import Materials
from tidegate.model.plan.envoy import LISTENERS, ROUTES, SECRETS
from tidegate.observe.dump import resource

WEB = service("web", "http:80", ips="10.96.0.1")
RULE = virtual_service(
    "v", '"*"', "- route: [{destination: {host: web}}]", namespace="istio-system", more="gateways: [edge]"
)
AUTHORITY = Authority()
SHOP = AUTHORITY.issue("shop.example")


def at_443(*servers: str, secrets: tuple[str, ...] = (), files: Materials | None = None) -> GatewayPlan:
    return compiled(WEB, RULE, gateway("edge", *servers), *secrets, files=files)


def chains(plan: GatewayPlan) -> list[dict[str, Any]]:
    listeners = plan.envoy[LISTENERS]
    return list(listeners["0.0.0.0_443"].body["filter_chains"]) if listeners else []


def context(plan: GatewayPlan) -> dict[str, Any]:
    (chain,) = chains(plan)
    found: dict[str, Any] = chain["transport_socket"]["typed_config"]
    return found


def test_each_server_has_its_name_its_certificate_and_its_routes() -> None:
    other = AUTHORITY.issue("other.example")
    plan = at_443(
        server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"),
        server(443, "HTTPS", '"*"', tls="mode: SIMPLE, credentialName: rest", name="rest"),
        secrets=(SHOP.secret("shop"), other.secret("rest")),
    )
    first, second = chains(plan)
    assert first["filter_chain_match"] == {"server_names": ["shop.example"]}
    assert "filter_chain_match" not in second, "whoever asks for another name, or for none"
    names = ["https.443.https-443.edge.istio-system", "https.443.rest.edge.istio-system"]
    assert list(plan.envoy[ROUTES]) == sorted(names)
    assert list(hosts_at(plan, names[0])) == ["shop.example"]
    common = first["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    assert [s["name"] for s in common["tls_certificate_sds_secret_configs"]] == ["kubernetes://shop"]
    assert plan.envoy[LISTENERS]["0.0.0.0_443"].needs(SECRETS) == ["kubernetes://rest", "kubernetes://shop"]


def test_a_new_certificate_is_another_secret_and_the_same_listener() -> None:
    one = server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop")
    before = at_443(one, secrets=(SHOP.secret("shop"),))
    after = at_443(one, secrets=(AUTHORITY.issue("shop.example").secret("shop"),))
    assert before.envoy[LISTENERS]["0.0.0.0_443"].body == after.envoy[LISTENERS]["0.0.0.0_443"].body
    assert before.envoy[SECRETS]["kubernetes://shop"] != after.envoy[SECRETS]["kubernetes://shop"]


def test_a_key_is_shown_to_nobody() -> None:
    plan = at_443(
        server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"), secrets=(SHOP.secret("shop"),)
    )
    (made,) = plan.envoy[SECRETS].values()
    assert "inline_bytes" not in str(resource(SECRETS, made))


def test_without_its_secret_a_server_is_left_out_and_the_others_are_served() -> None:
    plan = at_443(
        server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"),
        server(443, "HTTPS", "late.example", tls="mode: SIMPLE, credentialName: late", name="late"),
        secrets=(SHOP.secret("shop"), SHOP.secret("late", namespace="default")),
    )
    assert [c["filter_chain_match"]["server_names"] for c in chains(plan)] == [["shop.example"]]
    (left,) = plan.left_out
    assert left.why == "Secret late is not in the namespace of the workload"


def test_a_port_without_any_certificate_is_closed() -> None:
    plan = at_443(server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop"))
    assert not plan.envoy[LISTENERS]
    assert not list(plan.envoy[ROUTES])


def test_opaque_secrets_and_authorities_beside_or_apart() -> None:
    pair = {"cert": SHOP.certificate, "key": SHOP.key}
    one = server(443, "HTTPS", "shop.example", tls="mode: MUTUAL, credentialName: shop")
    beside = at_443(one, secrets=(secret("shop", {**pair, "cacert": AUTHORITY.certificate}),))
    apart = at_443(one, secrets=(secret("shop", pair), secret("shop-cacert", {"cacert": AUTHORITY.certificate})))
    for plan in (beside, apart):
        assert set(plan.envoy[SECRETS]) == {"kubernetes://shop", "kubernetes://shop-cacert"}
        assert context(plan)["require_client_certificate"]
        named = context(plan)["common_tls_context"]["combined_validation_context"]
        assert named["validation_context_sds_secret_config"]["name"] == "kubernetes://shop-cacert"
    nobody = at_443(one, secrets=(secret("shop", pair),))
    assert [left.why for left in nobody.left_out] == [
        "no Secret shop-cacert or shop with ca.crt or cacert is in the namespace of the workload"
    ]


def test_whose_certificate_a_client_may_show() -> None:
    revoked = AUTHORITY.revoke(AUTHORITY.issue("gone"))
    plan = at_443(
        server(
            443,
            "HTTPS",
            "shop.example",
            tls="mode: OPTIONAL_MUTUAL, credentialName: shop, caCertCredentialName: clients, "
            f"subjectAltNames: [client], verifyCertificateHash: [{'ab' * 32}], verifyCertificateSpki: [{'A' * 43}=]",
        ),
        secrets=(SHOP.secret("shop"), secret("clients", {"ca.crt": AUTHORITY.certificate, "ca.crl": revoked})),
    )
    assert context(plan)["require_client_certificate"] is False
    conditions = context(plan)["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    assert {m["san_type"] for m in conditions["match_typed_subject_alt_names"]} == {"DNS", "URI", "EMAIL", "IP_ADDRESS"}
    assert (conditions["verify_certificate_hash"], conditions["verify_certificate_spki"]) == (
        ["ab" * 32],
        ["A" * 43 + "="],
    )
    trusted = plan.envoy[SECRETS]["kubernetes://clients-cacert"].body["validation_context"]
    assert set(trusted) == {"trusted_ca", "crl"}, "a list of every authority on the way, as for pods"


def test_versions_and_cipher_suites() -> None:
    said = "minProtocolVersion: TLSV1_3, maxProtocolVersion: 4, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]"
    one = server(443, "HTTPS", "shop.example", tls=f"mode: SIMPLE, credentialName: shop, {said}")
    got = context(at_443(one, secrets=(SHOP.secret("shop"),)))["common_tls_context"]["tls_params"]
    assert got == {
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
        "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256"],
    }


def test_two_certificates_of_one_server() -> None:
    one = server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialNames: [shop, other]")
    plan = at_443(one, secrets=(SHOP.secret("shop"), AUTHORITY.issue("shop.example").secret("other")))
    assert set(plan.envoy[SECRETS]) == {"kubernetes://shop", "kubernetes://other"}


def test_certificates_in_files() -> None:
    one = server(
        443,
        "HTTPS",
        "shop.example",
        tls="mode: MUTUAL, serverCertificate: /c/tls.crt, privateKey: /c/tls.key, caCertificates: /c/ca.crt",
    )
    contents = {"/c/tls.crt": SHOP.certificate, "/c/tls.key": SHOP.key, "/c/ca.crt": AUTHORITY.certificate}
    plan = at_443(one, files=Materials(files=contents))
    assert set(plan.envoy[SECRETS]) == {"file-cert:/c/tls.crt~/c/tls.key", "file-root:/c/ca.crt"}
    broken = at_443(one, files=Materials(wrong_files={"/c/tls.crt": "does not exist"}))
    assert [left.why for left in broken.left_out] == ["file /c/tls.crt does not exist"]


def test_a_host_has_one_server_of_a_port_the_older_one() -> None:
    plan = compiled(
        WEB,
        RULE,
        gateway("edge", server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop")),
        gateway("later", server(443, "HTTPS", "shop.example, x.example", tls="mode: SIMPLE, credentialName: shop")),
        gateway("plain", server(443, "HTTP", "y.example")),
        SHOP.secret("shop"),
    )
    assert len(chains(plan)) == 1
    assert [left.served.gateway.name for left in plan.left_out] == ["later", "plain"]


@pytest.mark.case("C6")
@pytest.mark.parametrize(
    ("written", "plain", "secure"),
    [
        ("{authority: x, port: 443}", 443, None),
        ("{authority: 'x:443'}", 443, None),
        ("{authority: x, port: 80}", None, 80),
        ("{authority: x, derivePort: FROM_REQUEST_PORT}", None, None),
        ("{authority: x, scheme: http, port: 80}", None, None),
        ("{authority: x, scheme: https, port: 443}", None, None),
        ("{port: 443}", 443, None),
    ],
)
def test_a_redirect_leaves_out_the_default_port_of_the_scheme_that_was_asked_for(
    written: str, plain: int | None, secure: int | None
) -> None:
    servers = (server(80, "HTTP", '"*"'), server(443, "HTTPS", '"*"', tls="mode: SIMPLE, credentialName: shop"))
    rule = virtual_service(
        "w", "v.example", f"- redirect: {written}", namespace="istio-system", more="gateways: [edge]"
    )
    plan = at_443(*servers, secrets=(SHOP.secret("shop"), rule))
    ports = {
        name.partition(".")[0]: hosts_at(plan, name)["v.example"][0]["redirect"].get("port_redirect")
        for name in plan.envoy[ROUTES]
    }
    assert ports == {"http": plain, "https": secure}
