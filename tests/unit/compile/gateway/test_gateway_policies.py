"""What rules of a mesh say to a gateway: TLS to servers, DestinationRules for some clients, delegates, defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority, secret
from tests.support.configs import config_of, destination_rule, mesh_config, pod, service, virtual_service
from tests.support.gateways import LABELS, compiled, gateway, hosts_at, judged, server

from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.explain import explain
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.plan.envoy import CLUSTERS, ROUTES, SECRETS

AUTHORITY = Authority()
PAIR = AUTHORITY.issue("gateway.example")
EDGE = gateway("edge", server(80, "HTTP", '"*"'), namespace="default")
WEB = service("web", "http:80", ips="10.96.0.1")
RULE = virtual_service("v", "shop.example", "- route: [{destination: {host: web}}]", more="gateways: [edge]")
NAME = "outbound|80||web.default.svc.cluster.local"


def tls(spec: str, *secrets: str) -> GatewayPlan:
    return compiled(WEB, EDGE, RULE, destination_rule("web", "web", f"trafficPolicy: {{tls: {{{spec}}}}}"), *secrets)


def context(plan: GatewayPlan) -> dict[str, Any]:
    socket = plan.envoy[CLUSTERS][NAME].body["transport_socket"]
    found: dict[str, Any] = socket["typed_config"]["common_tls_context"]
    return found


def test_a_secret_of_the_gateways_namespace_is_shown_to_servers(tmp_path: Path) -> None:
    plan = tls("mode: MUTUAL, credentialName: own", PAIR.secret("own", ca=AUTHORITY.certificate))
    asked = [one["name"] for one in context(plan).get("tls_certificate_sds_secret_configs", [])]
    trusted = context(plan)["combined_validation_context"]["validation_context_sds_secret_config"]["name"]
    assert (asked, trusted) == (["kubernetes://own"], "kubernetes://own-cacert")
    assert set(plan.envoy[SECRETS]) == {"kubernetes://own", "kubernetes://own-cacert"}
    assert plan.envoy[CLUSTERS][NAME].needs(SECRETS) == ["kubernetes://own", "kubernetes://own-cacert"]
    assert judged(plan, tmp_path) == ""


def test_without_its_secret_nothing_is_sent_in_plain_text() -> None:
    plan = tls("mode: MUTUAL, credentialName: own")
    assert not plan.envoy[SECRETS]
    assert context(plan).get("tls_certificate_sds_secret_configs")


def test_a_missing_secret_is_named_with_the_rule_and_what_becomes_of_requests() -> None:
    found = tls("mode: MUTUAL, credentialName: own").lacking
    assert [(one.credential, one.clusters) for one in found] == [("own", (NAME,))]
    one = found[0]
    assert [(origin.kind, origin.name) for origin in one.origins] == [("DestinationRule", "web")]
    assert one.consequence == (
        "Secret own is not in the namespace of the workload: nothing is sent to web.default.svc.cluster.local, "
        "requests get 503"
    )
    elsewhere = tls("mode: MUTUAL, credentialName: own", PAIR.secret("own", namespace="default"))
    assert [one.credential for one in elsewhere.lacking] == ["own"]


@pytest.mark.parametrize(
    ("mode", "values", "why"),
    [
        ("MUTUAL", {"ca.crt": AUTHORITY.certificate}, "has no certificate"),
        ("MUTUAL", {"tls.crt": PAIR.certificate, "tls.key": PAIR.key}, "no Secret own-cacert or own with ca.crt"),
        ("SIMPLE", {"tls.crt": PAIR.certificate, "tls.key": PAIR.key}, "no Secret own-cacert or own with ca.crt"),
        ("SIMPLE", {"ca.crt": AUTHORITY.certificate}, ""),
    ],
)
def test_what_a_secret_lacks_is_named(mode: str, values: dict[str, bytes], why: str) -> None:
    found = tls(f"mode: {mode}, credentialName: own", secret("own", values)).lacking
    assert [why in one.why for one in found] == ([True] if why else [])


def test_explain_says_that_requests_do_not_get_to_a_server_without_its_secret() -> None:
    rule = destination_rule("web", "web", "trafficPolicy: {tls: {mode: SIMPLE, credentialName: own}}")
    there = secret("own", {"ca.crt": AUTHORITY.certificate})
    for secrets, verdict, why in (((), "unavailable", "503: Secret own is not"), ((there,), "allow", "")):
        facts = join(config_of(WEB, pod("web-1", "app: web", "10.244.0.1"), EDGE, RULE, rule, *secrets), ())
        workload = GatewayWorkload("istio-system", LABELS, ipv6=True)
        found = explain(facts, compile_gateway(facts, workload), workload, "http://shop.example/")
        assert (found["verdict"], found["reason"].startswith(why)) == (verdict, True)


def test_files_are_those_of_the_gateways_own_container(tmp_path: Path) -> None:
    plan = tls("mode: SIMPLE, caCertificates: /etc/certs/ca.pem")
    (name,) = plan.envoy[SECRETS]
    assert name.startswith("file-root:")
    assert plan.envoy[CLUSTERS][NAME].needs(SECRETS) == [name]


def test_a_rule_for_some_clients_counts_for_a_gateway_with_their_labels() -> None:
    chosen = destination_rule(
        "some",
        "web.default.svc.cluster.local",
        "workloadSelector: {matchLabels: {istio: ingressgateway}}\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}",
        namespace="istio-system",
    )
    plan = compiled(WEB, EDGE, RULE, chosen)
    assert [c.body["lb_policy"] for c in plan.envoy[CLUSTERS].values()] == ["RANDOM"]
    other = chosen.replace("istio: ingressgateway", "istio: other")
    assert [c.body["lb_policy"] for c in compiled(WEB, EDGE, RULE, other).envoy[CLUSTERS].values()] == ["LEAST_REQUEST"]


def test_the_protocol_of_a_client_is_kept_where_a_rule_says_so() -> None:
    pool = "trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}"
    plan = compiled(WEB, EDGE, RULE, destination_rule("web", "web", pool))
    (options,) = plan.envoy[CLUSTERS][NAME].body["typed_extension_protocol_options"].values()
    assert "use_downstream_protocol_config" in options


def test_routes_of_a_delegate_are_served() -> None:
    root = virtual_service(
        "root",
        "shop.example",
        "- match: [{uri: {prefix: /a}}]\n  delegate: {name: part}",
        more="gateways: [edge]",
    )
    part = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: default}
spec: {http: [{match: [{uri: {prefix: /a/b}}], route: [{destination: {host: web}}]}]}
"""
    plan = compiled(WEB, EDGE, root, part)
    (route,) = hosts_at(plan, "http.80")["shop.example"]
    assert route["match"]["path_separated_prefix" if "path_separated_prefix" in route["match"] else "prefix"] == "/a/b"


def test_defaults_of_the_mesh_hold_at_gateways() -> None:
    edge = RULE.replace("namespace: default", "namespace: other").replace("[edge]", "[default/edge]")
    assert list(hosts_at(compiled(WEB, EDGE, edge), "http.80")) == ["shop.example"]
    hidden = compiled(WEB, EDGE, edge, mesh_config("defaultVirtualServiceExportTo: ['.']"))
    assert not [host for routes in hidden.envoy[ROUTES].values() for host in routes.body["virtual_hosts"]]
    retries = mesh_config("defaultHttpRetryPolicy: {attempts: 7}")
    (route,) = hosts_at(compiled(WEB, EDGE, RULE, retries), "http.80")["shop.example"]
    assert route["route"]["retry_policy"]["num_retries"] == 7
