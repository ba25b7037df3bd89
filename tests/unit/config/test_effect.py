"""Fields of a DestinationRule that do nothing are named, with file and line; those that do something are not."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, destination_rule, entry, service

from tidegate.config.kinds.effect import check, looks_at
from tidegate.config.links import Links
from tidegate.model.names import ObjectKey
from tidegate.model.secret import Secret

EVERYTHING = """
trafficPolicy:
  loadBalancer: {consistentHash: {useSourceIp: true}}
  connectionPool:
    tcp: {maxConnections: 3, connectTimeout: 1s, tcpKeepalive: {time: 5s}, idleTimeout: 2s}
    http: {http1MaxPendingRequests: 5}
  outlierDetection: {consecutive5xxErrors: 3}
"""
HTTP, TCP, BOTH = (service("db", *ports, ips="10.96.0.1") for ports in (["http:80"], ["tcp:1"], ["http:80", "tcp:1"]))


def told(*texts: str) -> dict[str, str]:
    """Last field of the path -> code."""
    return {p.path.rpartition(".")[2]: p.code for p in config_of(*texts).problems if p.about.kind == "DestinationRule"}


@pytest.mark.case("D1")
def test_only_what_a_tcp_port_does_not_do_is_named() -> None:
    rule = destination_rule("r", "db", EVERYTHING)
    assert told(rule, HTTP) == {}
    assert told(rule, BOTH) == {}
    assert told(rule, TCP) == {"http1MaxPendingRequests": "TG0509"}
    wide = destination_rule("r", "*.default.svc.cluster.local", EVERYTHING)
    assert told(wide, HTTP) == {}
    assert told(wide, TCP) == told(rule, TCP)


@pytest.mark.case("D1")
def test_the_place_of_a_field_is_told() -> None:
    (idle,) = config_of(destination_rule("r", "db", EVERYTHING), TCP).problems
    path = "spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests"
    assert (idle.file, idle.line, idle.path) == ("0.yaml", 12, path)
    assert "TCP port 1 of db.default.svc.cluster.local" in idle.message


@pytest.mark.case("D1")
@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        ("{simple: RANDOM}", {}),
        ("{simple: PASSTHROUGH}", {}),
        ("{simple: ROUND_ROBIN, warmup: {duration: 1s}}", {}),
        ("{localityLbSetting: {enabled: true}}", {}),
        ("{consistentHash: {httpHeaderName: x}}", {"httpHeaderName": "TG0509"}),
        ("{consistentHash: {useSourceIp: true, maglev: {}}}", {"maglev": "TG0509"}),
    ],
)
def test_balancing_of_a_tcp_port(balancer: str, expected: dict[str, str]) -> None:
    assert told(destination_rule("r", "db", f"trafficPolicy: {{loadBalancer: {balancer}}}"), TCP) == expected


def test_what_the_relay_cannot_do_envoy_does_but_for_ranges() -> None:
    rule = destination_rule("r", "db", "trafficPolicy: {tls: {mode: SIMPLE}, proxyProtocol: {}}")
    assert told(rule, TCP) == {}
    assert told(rule, service("db", "tcp:1", ips="None")) == {}
    anywhere = entry("db", "db.example", "ports: [{number: 1, name: tcp, protocol: TCP}], resolution: NONE")
    of_entry = destination_rule("r", "db.example", "trafficPolicy: {tls: {mode: SIMPLE}, proxyProtocol: {}}")
    assert told(of_entry, anywhere) == {"tls": "TG0509", "proxyProtocol": "TG0509"}, "no chain of Envoy is for a range"


def test_where_the_client_dialled_the_server_there_is_none_to_choose() -> None:
    headless = service("db", "tcp:1", ips="None")
    chooses = "trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {interval: 1s}}"
    assert told(destination_rule("r", "db", chooses), headless) == {"simple": "TG0509", "outlierDetection": "TG0509"}
    assert told(destination_rule("r", "db", "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}"), headless) == {}
    subset = f"subsets: [{{name: v1, labels: {{a: b}}, {chooses}}}]"
    assert told(destination_rule("r", "db", subset), headless) == {}, "a route to a subset chooses one of its pods"


def test_a_port_of_its_own_is_looked_at_by_itself() -> None:
    entry = "trafficPolicy: {{portLevelSettings: [{{port: {{number: {}}}, outlierDetection: {{interval: 1s}}}}]}}"
    assert told(destination_rule("r", "db", entry.format(80)), BOTH) == {}
    assert told(destination_rule("r", "db", entry.format(1)), BOTH) == {}
    assert told(destination_rule("r", "db", entry.format(2)), BOTH) == {"outlierDetection": "TG0511"}
    other = "portLevelSettings: [{port: {number: 1}, tls: {mode: DISABLE}}]"
    beside = f"trafficPolicy: {{outlierDetection: {{interval: 1s}}, {other}}}"
    assert told(destination_rule("r", "db", beside), BOTH) == {}, "the entry of port 1 has nothing of it"


@pytest.mark.case("D1")
def test_rules_that_no_tcp_connection_asks() -> None:
    pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}"
    assert told(destination_rule("r", "db", pool), TCP) == {}
    assert told(destination_rule("r", "db", pool), service("db", "tcp:1", ips="None")) == {}
    foreign = destination_rule("r", "db.default.svc.cluster.local", pool, namespace="other")
    assert told(foreign, TCP) == {}, "it is for the clients of its own namespace"
    assert told(foreign.replace("namespace: other", "namespace: istio-system"), TCP) == {}
    subset = f"subsets: [{{name: v1, labels: {{a: b}}, {pool}}}]"
    assert told(destination_rule("r", "db", subset), TCP) == {}, "routes lead to subsets"


def test_a_rule_for_some_clients_overrules_no_other() -> None:
    pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}"
    own = f"workloadSelector: {{matchLabels: {{a: b}}}}\n{pool}"
    assert told(destination_rule("r", "db", own), TCP) == {}
    assert told(destination_rule("r", "db", own), BOTH) == {}
    both = config_of(service("db", "http:80"), destination_rule("a", "db", pool), destination_rule("b", "db", own))
    assert not both.problems
    twice = config_of(service("db", "http:80"), destination_rule("a", "db", own), destination_rule("b", "db", own))
    assert [p.code for p in twice.problems] == ["TG0512"]


def test_a_rule_for_nobody_and_one_that_an_older_one_overrules() -> None:
    pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}"
    assert told(destination_rule("r", "typo", pool), HTTP) == {"host": "TG0510"}
    assert told(destination_rule("r", "typo", pool)) == {}, "nothing is known of services at all"
    assert told(destination_rule("r", "x.example", pool), HTTP) == {}
    second = destination_rule("s", "db", f"{pool}\nsubsets: [{{name: v1}}]")
    problems = config_of(destination_rule("r", "db", f"{pool}\nsubsets: [{{name: v1}}]"), second, HTTP).problems
    assert {(p.about.name, p.code, p.path) for p in problems} == {
        ("s", "TG0512", "spec.subsets"),
        ("s", "TG0512", "spec.trafficPolicy"),
    }
    assert not config_of(destination_rule("r", "db", "subsets: [{name: v2}]"), second, HTTP).problems


def test_a_rule_for_a_gateway_that_nobody_wrote_is_named() -> None:
    text = """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: v}
        spec: {hosts: [x.example], gateways: [front], http: [{route: [{destination: {host: db}}]}]}
        """
    assert [p.code for p in config_of(text, HTTP).problems] == ["TG0525"]
    assert [p.code for p in config_of(text.replace("[front]", "[front, mesh]"), HTTP).problems] == ["TG0525"]
    assert not config_of(text.replace("[front]", "[mesh]"), HTTP).problems


TUNNEL = "trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 1}}"


def test_requests_are_not_tunnelled_and_that_is_said() -> None:
    rule = destination_rule("r", "db", TUNNEL)
    assert told(rule, HTTP) == {"tunnel": "TG0583"}
    assert told(rule, BOTH) == told(rule, TCP) == {}


PAIR = "certificate and its key"
SIGNERS = "who signs servers"


@pytest.mark.parametrize(
    ("mode", "secrets", "lacks"),
    [
        ("MUTUAL", {}, {PAIR, SIGNERS}),
        ("MUTUAL", {"mine": ("certificate",)}, {SIGNERS}),
        ("MUTUAL", {"mine": ("certificate",), "mine-cacert": ("ca",)}, set()),
        ("MUTUAL", {"mine": ("certificate", "ca")}, set()),
        ("MUTUAL", {"mine-cacert": ("certificate", "ca")}, {PAIR}),
        ("MUTUAL, insecureSkipVerify: true", {"mine": ("certificate",)}, set()),
        ("SIMPLE", {"mine": ("certificate",)}, {SIGNERS}),
        ("SIMPLE", {"mine": ("ca",)}, set()),
    ],
)
def test_what_pods_need_of_a_secret_and_nobody_wrote_is_told(
    mode: str, secrets: dict[str, tuple[str, ...]], lacks: set[str]
) -> None:
    words = (
        f"workloadSelector: {{matchLabels: {{app: a}}}}\ntrafficPolicy: {{tls: {{mode: {mode}, credentialName: mine}}}}"
    )
    rule = config_of(destination_rule("r", "db", words)).destination_rules[0]
    links = Links()
    for number, (name, holds) in enumerate(secrets.items()):
        full = Secret("other", name, b"x", ca=b"x")
        certificate, ca = (b"x" if part in holds else b"" for part in ("certificate", "ca"))
        for namespace in ("default", "other"):
            value = Secret(namespace, name, certificate, ca=ca) if namespace == "default" else full
            links.provide(ObjectKey("", "Secret", namespace, f"{name}{number}"), [("secret", name)], value)
    found = [finding for finding in check(rule, links) if finding.said.code == "TG0582"]
    assert {word for word in (PAIR, SIGNERS) for f in found if word in f.said.text} == lacks
    assert [(f.line > 0, f.path) for f in found] == ([(True, "spec.trafficPolicy.tls.credentialName")] if lacks else [])


def test_a_secret_that_comes_takes_the_warning_away() -> None:
    words = "workloadSelector: {matchLabels: {app: a}}\ntrafficPolicy: {tls: {mode: SIMPLE, credentialName: mine}}"
    rule = config_of(destination_rule("r", "db", words)).destination_rules[0]
    assert {("secret", "mine"), ("secret", "mine-cacert")} <= set(looks_at(rule))


def test_pods_that_no_rule_selects_get_no_secret() -> None:
    rule = destination_rule("r", "db", "trafficPolicy: {tls: {mode: SIMPLE, credentialName: mine}}")
    assert told(rule, HTTP) == {"credentialName": "TG0463"}


SPLIT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: default}}
spec:
  hosts: [db]
  tcp:
  - route:
    - {{destination: {{host: db, subset: a}}, weight: {}}}
    - {{destination: {{host: db, subset: b}}, weight: 1}}
"""


@pytest.mark.parametrize(
    ("weight", "tunnel", "codes"),
    [
        (1, "trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 1}}", []),
        (1, "trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 2}}", ["TG0584"]),
        (0, "trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 2}}", []),
        (1, "", []),
    ],
)
def test_a_route_through_several_tunnels_is_named(weight: int, tunnel: str, codes: list[str]) -> None:
    subsets = f"subsets: [{{name: a, labels: {{v: a}}, {tunnel}}}, {{name: b, labels: {{v: b}}}}]"
    config = config_of(destination_rule("r", "db", f"{TUNNEL}\n{subsets}"), TCP, SPLIT.format(weight))
    assert [p.code for p in config.problems if p.about.kind == "VirtualService"] == codes
