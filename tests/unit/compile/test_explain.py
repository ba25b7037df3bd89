"""explain names the tier, the rule with file and line, and the endpoints; render says it in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, pod, sandbox, service, virtual_service

from tidegate.compile.derive import Read
from tidegate.compile.explain import oracle
from tidegate.compile.explain.policy import order
from tidegate.compile.explain.render import render
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import join
from tidegate.compile.localities import Group
from tidegate.compile.outbound.destinations import Claim, claims
from tidegate.model.http import HttpRequest
from tidegate.model.locality import Locality
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Capture

CLIENT = WorkloadId("default", "client")
CONFIG = config_of(
    ENROLLED,
    service("reviews", "http:9080", "tcp:3306", ips="10.96.0.1"),
    service("heads", "tcp:6379", ips="None", selector="app: reviews"),
    pod("client", "app: client", "10.244.0.9"),
    pod("reviews-1", "app: reviews, version: v1", "10.244.0.1"),
    pod("reviews-2", "app: reviews, version: v2", "10.244.0.2"),
    pod("outsider", "app: x", "10.244.0.8", namespace="other"),
    virtual_service(
        "reviews",
        "reviews, reviews.example",
        """
        - match: [{headers: {end-user: {exact: jason}}}]
          timeout: 1s
          route: [{destination: {host: reviews, subset: v2}}]
        - match: [{uri: {prefix: /old}}]
          redirect: {uri: /new}
        - match: [{uri: {prefix: /split}}]
          route:
          - {destination: {host: reviews, subset: v1}, weight: 75}
          - {destination: {host: reviews, subset: v2}, weight: 25}
        - match: [{uri: {prefix: /gone}}]
          route: [{destination: {host: reviews, subset: v9}}]
        - match: [{uri: {prefix: /alias}}]
          route: [{destination: {host: alias}}]
        - match: [{uri: {prefix: /outside}}]
          route: [{destination: {host: outside, port: {number: 8080}}}]
        """,
    ),
    destination_rule(
        "reviews", "reviews", "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"
    ),
    service("empty", "http:80", "tcp:81", ips="10.96.0.2", selector="app: nobody"),
    service("empty-heads", "tcp:81", ips="None", selector="app: nobody"),
    service("web-heads", "http:8000", ips="None", selector="app: reviews"),
    service("outside", spec="type: ExternalName\n  externalName: www.example."),
    service("alias", spec="type: ExternalName\n  externalName: reviews.default.svc.cluster.local"),
)
FACTS = join(CONFIG, [sandbox("client", "10.244.0.9")])


def ask(host: str, port: int | None = None, source: WorkloadId = CLIENT, **request: Any) -> dict[str, Any]:
    answer = explain(FACTS, source, host, port, HttpRequest(**request)).as_json()
    json.dumps(answer)
    assert render(answer)
    return answer


def test_the_rule_with_file_and_line() -> None:
    answer = ask("reviews", 9080, headers={"End-User": "jason"})
    assert (answer["tier"], answer["verdict"]) == ("envoy", "allow")
    rule = answer["rule"]
    assert (rule["kind"], rule["namespace"], rule["name"]) == ("VirtualService", "default", "reviews")
    assert (rule["file"], rule["line"], rule["index"]) == ("7.yaml", 9, 0)
    assert answer["destination"]["cluster"] == "outbound|9080|v2|reviews.default.svc.cluster.local"
    assert [e["pod"] for e in answer["endpoints"]] == ["default/reviews-2"]
    assert answer["action"] == {"timeout": "1s"}
    assert answer["tls"] == "none"
    text = render(answer)
    assert "VirtualService default/reviews, http[0]" in text
    assert "7.yaml:9" in text


def test_every_block_that_was_tried_is_told() -> None:
    hops = [h["result"] for h in ask("reviews", path="/old/x")["hops"] if h["step"] == "route"]
    assert hops == [
        "7.yaml:9 default/reviews[0]: header end-user is absent",
        "7.yaml:12 default/reviews[1]: fits",
    ]


@pytest.mark.case("C7")
def test_a_destination_may_be_an_alias() -> None:
    answer = ask("reviews", 9080, path="/alias")
    assert answer["destination"]["cluster"] == "outbound|9080||reviews.default.svc.cluster.local"
    assert len(answer["endpoints"]) == 2
    answer = ask("reviews", 9080, path="/outside")
    assert [(e["address"], e["port"]) for e in answer["endpoints"]] == [("www.example", 8080)]
    assert answer["verdict"] == "allow"


@pytest.mark.case("C8")
@pytest.mark.parametrize("path", ["/a%00/b", "/\u00fc", "/a b"])
def test_what_is_no_path_gets_400(path: str) -> None:
    assert ask("reviews", 9080, path=path)["reason"] == "the path is none: Envoy answers 400"


def test_weights_and_the_likeliest_destination() -> None:
    answer = ask("reviews", 9080, path="/split")
    assert [(d["subset"], d["percent"]) for d in answer["destinations"]] == [("v1", 75.0), ("v2", 25.0)]
    assert answer["destination"]["subset"] == "v1"
    assert {e["subset"] for e in answer["endpoints"]} == {"v1", "v2"}


def test_redirect_404_and_503() -> None:
    assert ask("reviews", path="/old")["action"] == {"redirect": {"code": 301, "uri": "/new"}}
    nothing = ask("reviews", path="/none")
    assert nothing["reason"] == "no route fits: Envoy answers 404"
    assert nothing["rule"]["name"] == "reviews"
    gone = ask("reviews", path="/gone")
    assert "no DestinationRule defines the subset" in gone["hops"][-1]["result"]


def test_names_as_in_the_pod() -> None:
    for name in ("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local."):
        assert ask(name)["service"] == "reviews.default.svc.cluster.local", name
    assert ask("10.96.0.1", 9080)["service"] == "reviews.default.svc.cluster.local"
    assert ask("nobody")["tier"] == "none"


def test_tcp_goes_to_the_fast_path() -> None:
    answer = ask("reviews", 3306)
    assert (answer["tier"], answer["rule"]) == ("fastpath", None)
    assert [e["address"] for e in answer["endpoints"]] == ["10.244.0.1", "10.244.0.2"]
    assert answer["policies"][0]["name"] == "reviews"


def test_a_service_without_endpoints_is_unavailable() -> None:
    http, tcp, heads = ask("empty", 80), ask("empty", 81), ask("empty-heads", 81)
    assert (http["tier"], http["verdict"], http["reason"]) == (
        *("envoy", "unavailable"),
        "no endpoint is ready: Envoy answers 503",
    )
    assert (tcp["tier"], tcp["verdict"], tcp["reason"]) == (
        *("refuse", "unavailable"),
        "no endpoint is ready: connect() is refused",
    )
    assert tcp["counted_as"] == "deny_no_endpoint"
    assert (heads["tier"], heads["verdict"]) == ("none", "unavailable")
    assert "no pod is ready" in heads["reason"]
    assert ask("reviews", path="/gone")["verdict"] == "unavailable"
    assert ask("reviews", path="/split")["verdict"] == "allow"
    assert ask("reviews", path="/old")["verdict"] == "allow", "a redirect needs no endpoint"


def test_a_container_that_nobody_wrote_a_status_for_is_an_endpoint_where_it_runs() -> None:
    box = """
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: default, labels: {app: box}}
spec: {containers: [{name: c}]}
"""
    web = service("box", "http:80", "tcp:81", ips="10.96.0.9")
    mesh = config_of(ENROLLED, web, box, pod("client", "app: client", "10.244.0.9"))
    client = sandbox("client", "10.244.0.9")
    for host in ("box:80", "box:81"):
        name, number = host.split(":")
        told = explain(join(mesh, [client, sandbox("box", "10.0.0.7")]), CLIENT, name, int(number)).as_json()
        assert (told["verdict"], [e["address"] for e in told["endpoints"]]) == ("allow", ["10.0.0.7"])
        assert explain(join(mesh, [client]), CLIENT, name, int(number)).as_json()["verdict"] == "unavailable"


def test_a_port_that_the_service_lacks_is_named() -> None:
    answer = ask("empty", 82)
    assert (answer["tier"], answer["verdict"]) == ("none", "pass")
    assert "has no TCP port 82; it has 80, 81" in answer["hops"][1]["result"]


def test_http_behind_a_headless_name_goes_to_the_pod_that_was_dialled() -> None:
    answer = ask("10.244.0.2", 8000)
    assert (answer["tier"], answer["service"]) == ("envoy", "web-heads.default.svc.cluster.local")
    assert [(e["address"], e["port"], e["pod"]) for e in answer["endpoints"]] == [
        ("10.244.0.2", 8000, "default/reviews-2")
    ]


def test_pods_headless_names_and_strangers() -> None:
    assert ask("10.244.0.1", 80)["tier"] == "direct"
    heads = ask("heads", 6379)
    assert (heads["tier"], heads["address"]) == ("direct", "10.244.0.1")
    unknown = ask("192.0.2.1", 80)
    assert (unknown["tier"], unknown["verdict"]) == ("none", "pass")


def test_a_pod_outside_the_mesh_passes() -> None:
    answer = ask("reviews.default", source=WorkloadId("other", "outsider"))
    assert (answer["tier"], answer["verdict"]) == ("none", "pass")
    assert "not in the mesh" in answer["reason"]


def test_capture_addresses_are_denied() -> None:
    for address in ("127.77.0.2", "fd74:6964:6567:6174::1"):
        assert ask(address, 80)["verdict"] == "deny"


def test_the_authority_can_name_a_host_that_is_no_service() -> None:
    answer = ask("reviews", 9080, authority="reviews.example", path="/split")
    assert answer["rule"]["index"] == 2
    assert any(h["step"] == "virtual host" for h in answer["hops"])


def test_an_external_name_is_followed_as_a_resolver_follows_it() -> None:
    answer = ask("alias", 3306)
    assert (answer["tier"], answer["service"]) == ("fastpath", "reviews.default.svc.cluster.local")
    assert "alias of reviews" in answer["hops"][1]["result"]


@pytest.mark.case("C7")
def test_a_rule_for_an_alias_is_told_to_who_asks_for_the_alias() -> None:
    rule = virtual_service("by-alias", "alias", "- directResponse: {status: 418}")
    with_rule = replace(CONFIG, virtual_services=(*CONFIG.virtual_services, *config_of(rule).virtual_services))
    facts = join(with_rule, [sandbox("client", "10.244.0.9")])
    for host in ("alias", "alias.default.svc.cluster.local"):
        trace = explain(facts, CLIENT, host, 9080)
        assert trace.rule is not None
        assert trace.rule.origin.name == "by-alias"
    rule_of_service = explain(facts, CLIENT, "reviews", 9080).rule
    assert rule_of_service is not None
    assert rule_of_service.origin.name == "reviews"


def test_ipv6_destinations_are_written_in_brackets() -> None:
    assert render(ask("fd00::7", 80)).startswith("default/client -> [fd00::7]:80\n")


def hooked(host: str, port: int, **client: Any) -> tuple[str, str, str]:
    """(counted_as, verdict, tier) for a client whose sandbox is like that."""
    sandboxes = [replace(sandbox("client", "10.244.0.9"), **client)]
    told = explain(join(TWO_FAMILIES, sandboxes), CLIENT, host, port).as_json()
    assert told["hops"][-1]["result"].endswith(f"({told['counted_as'].upper()})") or told["tier"] != "none"
    return told["counted_as"], told["verdict"], told["tier"]


TWO_FAMILIES = config_of(
    ENROLLED,
    service("web", "http:80", "tcp:81", ips="10.96.0.1,fd00::1"),
    pod("web", "app: web", "10.244.0.1", "fd01::1"),
    pod("client", "app: client", "10.244.0.9"),
)


def test_what_the_hook_says_is_told_in_its_own_words() -> None:
    assert hooked("10.96.0.1", 80) == ("redirect_envoy", "allow", "envoy")
    assert hooked("10.96.0.1", 81) == ("redirect_fastpath", "allow", "fastpath")
    assert hooked("10.244.0.1", 80) == ("pass_workload", "allow", "direct")
    assert hooked("192.0.2.1", 80) == ("pass_unknown", "pass", "none")
    assert hooked("127.0.0.1", 80) == ("pass_loopback", "pass", "none")
    assert hooked("::1", 80) == ("pass_loopback", "pass", "none")
    assert hooked("127.77.0.2", 80) == ("deny_capture_address", "deny", "none")
    assert hooked("fd00::1", 81) == ("pass_no_v6_capture", "pass", "none")
    assert hooked("10.96.0.1", 80, capture=Capture(fastpath4=1)) == ("pass_no_listener", "pass", "none")
    assert hooked("10.96.0.1", 80, capture=Capture()) == ("pass_not_enrolled", "pass", "none")


@pytest.mark.parametrize("resolver", ["10.96.0.1", "10.244.0.1", "192.0.2.1"])
def test_a_question_goes_to_the_nodes_dns_whatever_else_is_known_of_the_resolver(resolver: str) -> None:
    facts = join(NAMED, [sandbox("client", "10.244.0.9")])
    told = explain(facts, CLIENT, resolver, 53, dns=True).as_json()
    assert (told["counted_as"], told["verdict"], told["tier"]) == ("redirect_dns", "allow", "dns")
    assert [e["address"] for e in told["endpoints"]] == [resolver]
    assert f"all others by {resolver}:53 itself" in render(told)
    ordinary = explain(facts, CLIENT, resolver, 54, dns=True).as_json()
    assert ordinary["counted_as"] != "redirect_dns"


def test_what_the_nodes_dns_does_not_take_goes_its_way_as_any_connection() -> None:
    facts = join(NAMED, [sandbox("client", "10.244.0.9")])
    told = explain(facts, CLIENT, "10.96.0.1", 53).as_json()
    assert (told["counted_as"], told["tier"]) == ("redirect_fastpath", "fastpath")
    assert "takes no questions of this pod" in render(told)
    assert "questions" not in render(explain(facts, CLIENT, "127.0.0.1", 53, dns=True).as_json())
    nobody = explain(join(NAMED, []), CLIENT, "10.96.0.1", 53, dns=True).as_json()
    assert (nobody["counted_as"], nobody["tier"]) == ("pass_not_enrolled", "none")


NAMED = config_of(
    ENROLLED,
    service("dns", "tcp:53", "http:54", ips="10.96.0.1"),
    pod("resolver", "app: dns", "10.244.0.1"),
    pod("client", "app: client", "10.244.0.9"),
)


def test_every_reason_that_is_told_is_one_of_the_kernels() -> None:
    header = (Path(__file__).parents[3] / "bpf" / "include" / "tg_reason.h").read_text()
    kernel = {name.lower() for name in re.findall(r"X\((\w+)\)", header)}
    source = Path(oracle.__file__).read_text()
    told = set(re.findall(r'"((?:pass|deny|redirect)_\w+)"', source))
    assert len(told) == 15
    assert told < kernel


def test_a_question_is_answered_without_a_look_at_every_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who dialled and what is dialled is derived; VirtualServices for other hosts are looked through once."""
    runs: list[str] = []
    real = claims.function

    def counted(read: Read, fqdn: str) -> tuple[Claim, ...]:
        runs.append(fqdn)
        return real(read, fqdn)

    monkeypatch.setattr(claims, "function", counted)
    explain(join(CONFIG, [sandbox("client", "10.244.0.9")]), CLIENT, "reviews", 3306)
    assert runs == ["reviews.default.svc.cluster.local"]


def test_a_policy_is_told_with_what_it_does_and_where_it_stands() -> None:
    zones = "".join(
        f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {n}, labels: {{topology.kubernetes.io/region: {r}}}}}\n"
        for n, r in (("m", "here"), ("n", "there"))
    ).removeprefix("---\n")
    policy = """
trafficPolicy:
  tls: {mode: SIMPLE, sni: a.example}
  proxyProtocol: {}
  loadBalancer: {warmup: {duration: 5s}}
  outlierDetection: {interval: 1s}
  retryBudget: {percent: 30}
"""
    pods = [
        pod(f"web-{n}", "app: web", f"10.244.0.{i}").replace("spec: {", f"spec: {{nodeName: {n}, ")
        for i, n in enumerate("mn")
    ]
    rule = destination_rule("d", "web", policy)
    client = pod("client", "app: client", "10.244.0.9")
    facts = join(
        config_of(ENROLLED, service("web", "http:80", ips="10.96.0.1"), client, *pods, zones, rule),
        [sandbox("client", "10.244.0.9")],
        node="m",
    )
    answer = explain(facts, CLIENT, "web", 80, HttpRequest()).as_json()
    hops = {h["step"]: h["result"].partition("): ")[2] for h in answer["hops"]}
    assert hops["policy"] == (
        "TLS SIMPLE, the server has to be a.example, PROXY protocol V1, warm-up of 5 s, "
        "outlier detection leaves out 0 of 2 at most, at most 30 % of requests are retries "
        "(DestinationRule default/d (6.yaml:2))"
    )
    assert hops["places"] == "here as number 1 (1 endpoints), there as number 2 (1 endpoints)"
    assert answer["tls"] == "simple"


def test_shares_of_places_are_told_in_percents() -> None:
    found = (Group((), Locality("a"), 0, 20), Group((), Locality("b", "c"), 0, 80))
    assert order(found) == "a 20 % (0 endpoints), b/c 80 % (0 endpoints)"
    assert order(found[:1]) == ""
