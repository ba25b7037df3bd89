"""Ports that are not HTTP and whose policy the relay cannot do: rows of the kernel, chains of listeners, clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, pod, sandbox, service
from tests.support.envoy_static import messages, validate
from tests.support.lab import ROOT

from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS
from tidegate.model.tier import Tier

DOCUMENTS = ROOT / "tests" / "acceptance" / "documents"
DB = "db.default.svc.cluster.local"
WORLD = (
    ENROLLED,
    service("db", "tcp:5432", ips="10.96.0.2,fd00::2"),
    service("spare", "tcp:5432", ips="10.96.0.3"),
    service("web", "http:80", ips="10.96.0.1"),
    service("secure", "tls:443", ips="10.96.0.4"),
    pod("db-1", "app: db, version: v1", "10.244.0.2", "fd00::12"),
    pod("spare-1", "app: spare", "10.244.0.3"),
    pod("secure-1", "app: secure", "10.244.0.4"),
    pod("client", "app: client", "10.244.0.9"),
    pod("other", "app: other", "10.244.0.8"),
)
TLS = "trafficPolicy: {tls: {mode: SIMPLE}}"
SPLIT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: default}
spec:
  hosts: [db]
  tcp:
  - route: [{destination: {host: db}, weight: 70}, {destination: {host: spare}, weight: 30}]
"""


def facts_of(*documents: str) -> Facts:
    boxes = (sandbox("client", "10.244.0.9", cookie=1), sandbox("other", "10.244.0.8", cookie=2))
    return join(config_of(*WORLD, *documents), boxes)


def plan_of(*documents: str) -> Plan:
    return compile_plan(facts_of(*documents))


def tier(plan: Plan, address: str, port: int = 5432, client: str = "client") -> Tier:
    """Who serves what a pod dials, as the kernel looks it up."""
    scope = next(p.scope for p in plan.pods if p.id.name == client)
    rows = {(str(r.address), r.port, r.scope): r.tier for r in plan.destinations}
    return rows[address, port, scope]


def chains(plan: Plan, client: str = "client") -> dict[str, Any]:
    """Filter chains without HTTP of a pod: match and proxy, by name."""
    name = next(p.listener for p in plan.pods if p.id.name == client)
    body = plan.envoy[LISTENERS][name].body
    found = {c["name"]: c for c in body["filter_chains"] if c["name"] != "http"}
    return {n: (c["filter_chain_match"], c["filters"][-1]["typed_config"]) for n, c in found.items()}


def test_a_chain_for_a_port_closes_it_for_nobody_else() -> None:
    """Of a port that a chain names Envoy asks no chain that names none: there is one for whatever is left."""
    plan = plan_of(service("shop", "http:5432", ips="10.96.0.7"), destination_rule("db", "db", TLS))
    name = next(p.listener for p in plan.pods if p.id.name == "client")
    body = plan.envoy[LISTENERS][name].body
    http = next(chain for chain in body["filter_chains"] if chain["name"] == "http")
    assert body.get("default_filter_chain") == {**http, "name": "default"}
    assert "default_filter_chain" not in plan_of().envoy[LISTENERS][name].body


def proxy(plan: Plan, client: str = "client") -> dict[str, Any]:
    """Of the only chain."""
    ((_, made),) = chains(plan, client).values()
    return dict(made)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("tls: {mode: SIMPLE}", Tier.ENVOY),
        ("tls: {mode: DISABLE}", Tier.FASTPATH),
        ("proxyProtocol: {version: V2}", Tier.ENVOY),
        ("tunnel: {targetHost: a.example, targetPort: 1}", Tier.ENVOY),
        ("loadBalancer: {simple: RANDOM}", Tier.FASTPATH),
        ("loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 10s}}", Tier.ENVOY),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {'a': 100}}]}}", Tier.ENVOY),
        ("loadBalancer: {localityLbSetting: {enabled: false}}, outlierDetection: {}", Tier.FASTPATH),
        (
            "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}, outlierDetection: {interval: 1s}",
            Tier.ENVOY,
        ),
        ("outlierDetection: {interval: 1s}", Tier.FASTPATH),
        ("portLevelSettings: [{port: {number: 5432}, tls: {mode: SIMPLE}}]", Tier.ENVOY),
        ("portLevelSettings: [{port: {number: 5433}, tls: {mode: SIMPLE}}]", Tier.FASTPATH),
    ],
)
def test_who_serves_a_port_says_its_policy(policy: str, expected: Tier) -> None:
    plan = plan_of(destination_rule("r", "db", f"trafficPolicy: {{{policy}}}"))
    assert {tier(plan, a) for a in ("10.96.0.2", "fd00::2")} == {expected}
    assert tier(plan, "10.96.0.3") is Tier.FASTPATH, "nobody asked for another service"
    assert bool(chains(plan)) == (expected is Tier.ENVOY)
    assert [s.name for s in plan.l4 if s.name.startswith(DB)], "the relay knows it, for those who come back"


@pytest.mark.parametrize(
    ("words", "policy", "expected"),
    [
        ("distribute: [{from: '*', to: {a: 100}}]", "", Tier.ENVOY),
        ("distribute: [{from: '*', to: {a: 100}}]", "loadBalancer: {localityLbSetting: {}}", Tier.FASTPATH),
        ("failover: [{from: a, to: b}]", "", Tier.FASTPATH),
        ("failover: [{from: a, to: b}]", "outlierDetection: {interval: 1s}", Tier.ENVOY),
        ("enabled: false", "outlierDetection: {interval: 1s}", Tier.FASTPATH),
        ("enabled: true", "outlierDetection: {interval: 1s}", Tier.FASTPATH),
    ],
)
def test_places_that_the_mesh_prefers_are_envoys_business(words: str, policy: str, expected: Tier) -> None:
    mesh = f"""
    apiVersion: v1
    kind: ConfigMap
    metadata: {{name: istio, namespace: istio-system}}
    data:
      mesh: |
        localityLbSetting: {{{words}}}
    """
    rules = [destination_rule("r", "db", f"trafficPolicy: {{{policy}}}")] if policy else []
    assert tier(plan_of(mesh, *rules), "10.96.0.2") is expected


def test_a_chain_is_for_what_was_dialled_and_leads_to_the_cluster_of_the_port() -> None:
    plan = plan_of(destination_rule("r", "db", TLS))
    ((match, made),) = chains(plan).values()
    assert match == {
        "destination_port": 5432,
        "prefix_ranges": [
            {"address_prefix": "10.96.0.2", "prefix_len": 32},
            {"address_prefix": "fd00::2", "prefix_len": 128},
        ],
    }
    assert (made["cluster"], made.get("idle_timeout")) == (f"outbound|5432||{DB}", "0s")
    cluster = plan.envoy[CLUSTERS][made["cluster"]].body
    assert cluster["transport_socket"]["typed_config"]["sni"] == DB
    listener = plan.envoy[LISTENERS][plan.pods[0].listener]
    assert made["cluster"] in listener.needs(CLUSTERS)
    assert len(listener.body["listener_filters"]) == 1, "a server that speaks first is not kept waiting"
    plain = plan_of().envoy[LISTENERS][plan.pods[0].listener].body
    rest = {k: v for k, v in listener.body.items() if k != "filter_chains"}
    assert rest == {k: v for k, v in plain.items() if k != "filter_chains"} | {
        "default_filter_chain": plain["filter_chains"][0] | {"name": "default"}
    }, "Envoy changes chains without the others"


def test_what_a_connection_may_last_and_who_gets_it() -> None:
    pool = "connectionPool: {tcp: {idleTimeout: 7s, maxConnectionDuration: 90s}}"
    balancer = "loadBalancer: {consistentHash: {useSourceIp: true}}"
    made = proxy(plan_of(destination_rule("r", "db", f"trafficPolicy: {{tls: {{mode: SIMPLE}}, {pool}, {balancer}}}")))
    assert (made.get("idle_timeout"), made.get("max_downstream_connection_duration")) == ("7s", "90s")
    assert made["hash_policy"] == [{"source_ip": {}}]


def test_a_route_that_leads_there_splits_by_weight() -> None:
    plan = plan_of(SPLIT, destination_rule("r", "spare", TLS))
    assert tier(plan, "10.96.0.2") is Tier.ENVOY, "a part of it goes to where TLS begins"
    by_name = {name.split("|")[1]: made for name, (_, made) in chains(plan).items()}
    weighted = by_name[f"{DB}:5432"]["weighted_clusters"]["clusters"]
    assert {c["name"].rpartition("|")[2]: c["weight"] for c in weighted} == {DB: 70, DB.replace("db", "spare"): 30}


def test_names_that_clients_ask_for_have_chains_of_their_own() -> None:
    routes = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: secure, namespace: default}
spec:
  hosts: [secure, "*.wild"]
  tls:
  - {match: [{sniHosts: [secure.default.svc.cluster.local, "*.wild"]}], route: [{destination: {host: secure}}]}
"""
    plan = plan_of(routes, destination_rule("r", "secure", "trafficPolicy: {proxyProtocol: {}}"))
    ((match, _),) = chains(plan).values()
    assert match["server_names"] == ["secure.default.svc.cluster.local", "*.wild"]
    body = plan.envoy[LISTENERS][plan.pods[0].listener].body
    inspector = body["listener_filters"][-1]
    asked = inspector["filter_disabled"]["not_match"]["destination_port_range"]
    assert (inspector["name"], asked) == ("envoy.filters.listener.tls_inspector", {"start": 443, "end": 444})


def test_the_real_envoy_accepts_all_of_it(tmp_path: Path) -> None:
    secure = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: secure, namespace: default}
spec:
  hosts: [secure, "*.wild"]
  tls:
  - {match: [{sniHosts: [secure.default.svc.cluster.local]}], route: [{destination: {host: secure}}]}
  - {match: [{sniHosts: ["*.wild"], destinationSubnets: [10.96.0.4/32]}], route: [{destination: {host: spare}}]}
"""
    tls = "tls: {mode: SIMPLE, insecureSkipVerify: true}, proxyProtocol: {}"
    warm = "trafficPolicy: {proxyProtocol: {}, loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 10s}}}"
    rules = destination_rule("r", "spare", f"trafficPolicy: {{{tls}}}"), destination_rule("s", "secure", warm)
    plan = plan_of(SPLIT, secure, *rules)
    assert len(chains(plan)) == 4
    assert len(messages(plan.envoy)) == sum(map(len, plan.envoy.values()))
    assert validate(plan.envoy, tmp_path) == ""


def test_a_rule_for_some_pods_is_theirs_alone() -> None:
    some = destination_rule("r", "db", f"workloadSelector: {{matchLabels: {{app: client}}}}\n{TLS}")
    plan = plan_of(some)
    assert (tier(plan, "10.96.0.2"), tier(plan, "10.96.0.2", client="other")) == (Tier.ENVOY, Tier.FASTPATH)
    assert (tier(plan, "10.96.0.3"), tier(plan, "10.96.0.1", 80)) == (Tier.FASTPATH, Tier.ENVOY)
    assert proxy(plan)["cluster"] == f"outbound|5432|@default/r|{DB}"
    assert chains(plan, "other") == {}
    reverse = destination_rule("q", "db", TLS), some.replace("SIMPLE", "DISABLE")
    plan = plan_of(*reverse)
    assert (tier(plan, "10.96.0.2"), tier(plan, "10.96.0.2", client="other")) == (Tier.FASTPATH, Tier.ENVOY)


def test_a_rule_of_another_namespace_is_for_its_own_clients() -> None:
    plan = plan_of(destination_rule("r", DB, TLS, namespace="elsewhere"))
    assert tier(plan, "10.96.0.2") is Tier.FASTPATH
    assert {p.scope for p in plan.pods} == {0}, "it is nobody's here"


def test_who_does_not_see_a_service_has_no_chain_for_it() -> None:
    sidecar = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  egress: [{hosts: [./web.default.svc.cluster.local]}]
"""
    plan = plan_of(destination_rule("r", "db", TLS), sidecar)
    assert chains(plan) == {}
    assert tier(plan, "10.96.0.2", client="other") is Tier.ENVOY


def test_a_pod_without_http_around_it_gets_its_listener() -> None:
    config = config_of(*(d for d in WORLD if "name: web" not in d), destination_rule("r", "db", TLS))
    plan = compile_plan(join(config, [sandbox("client", "10.244.0.9", cookie=1)]))
    assert plan.pods[0].needs_envoy


def test_what_nobody_serves_is_refused_whoever_would_carry_it() -> None:
    nobody = service("db", "tcp:5432", ips="10.96.0.2", selector="app: nobody")
    config = config_of(ENROLLED, nobody, WORLD[8], destination_rule("r", "db", TLS))
    plan = compile_plan(join(config, [sandbox("client", "10.244.0.9", cookie=1)]))
    assert tier(plan, "10.96.0.2") is Tier.REFUSE


def socket_of(policy: str) -> dict[str, Any]:
    plan = plan_of(destination_rule("r", "db", f"trafficPolicy: {{tls: {{{policy}}}}}"))
    made: dict[str, Any] = plan.envoy[CLUSTERS][f"outbound|5432||{DB}"].body["transport_socket"]["typed_config"]
    return made


@pytest.mark.parametrize(
    ("policy", "sni", "names"),
    [
        ("mode: SIMPLE", DB, [DB]),
        ("mode: SIMPLE, sni: a.example", "a.example", ["a.example"]),
        ("mode: SIMPLE, insecureSkipVerify: true", DB, None),
        ("mode: SIMPLE, subjectAltNames: [b.example]", DB, ["b.example"]),
        ("mode: SIMPLE, caCertificates: /ca.pem", DB, []),
    ],
)
def test_where_no_request_names_a_host_the_service_does(policy: str, sni: str, names: list[str] | None) -> None:
    made = socket_of(policy)
    context = made["common_tls_context"].get("combined_validation_context")
    told = context and context["default_validation_context"].get("match_typed_subject_alt_names", [])
    assert made["sni"] == sni
    assert (None if told is None else [t["matcher"]["exact"] for t in told]) == names


def test_the_documents_mongo_cluster() -> None:
    documents = ("32-serviceentry-external-svc-mongocluster", "33-destinationrule-mtls-mongocluster")
    plan = plan_of(*((DOCUMENTS / f"{name}.yaml").read_text() for name in documents))
    assert tier(plan, "192.192.192.200", 27018) is Tier.ENVOY
    ((match, made),) = chains(plan).values()
    assert match["prefix_ranges"] == [{"address_prefix": "192.192.192.0", "prefix_len": 24}]
    cluster = plan.envoy[CLUSTERS][made["cluster"]]
    assert len(cluster.needs(SECRETS)) == 2
    assert set(cluster.needs(SECRETS)) <= set(plan.envoy[SECRETS])


def test_explain_says_the_tier_and_the_policy_with_its_file() -> None:
    facts = facts_of(destination_rule("r", "db", "trafficPolicy: {tls: {mode: SIMPLE}, proxyProtocol: {}}"))
    told = explain(facts, WorkloadId("default", "client"), "db", 5432).as_json()
    assert (told["tier"], told["verdict"], told["tls"]) == ("envoy", "allow", "simple")
    assert [(p["kind"], p["name"], p["file"]) for p in told["policies"]] == [("DestinationRule", "r", "10.yaml")]
    assert told["destination"]["cluster"] == f"outbound|5432||{DB}"
    assert [e["pod"] for e in told["endpoints"]] == ["default/db-1"]
    (said,) = [hop["result"] for hop in told["hops"] if hop["step"] == "policy"]
    assert f"TLS SIMPLE, the server has to be {DB}, PROXY protocol V1" in said
    assert "10.yaml" in said


def test_explain_is_about_the_pod_that_asks() -> None:
    facts = facts_of(destination_rule("r", "db", f"workloadSelector: {{matchLabels: {{app: client}}}}\n{TLS}"))
    tiers = [explain(facts, WorkloadId("default", n), "db", 5432).tier for n in ("client", "other")]
    assert tiers == ["envoy", "fastpath"]


@pytest.mark.parametrize(
    ("policy", "protocol"),
    [("", "http_protocol_options"), (", connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "http2_protocol_options")],
)
def test_a_proxy_is_spoken_to_in_http_1_unless_a_rule_says_otherwise(policy: str, protocol: str) -> None:
    """Nobody who dials such a port speaks HTTP that could decide it."""
    tunnel = "tunnel: {targetHost: a.example, targetPort: 1}"
    plan = plan_of(destination_rule("r", "db", f"trafficPolicy: {{{tunnel}{policy}}}"))
    made = proxy(plan)
    assert made["tunneling_config"] == {"hostname": "a.example:1"}
    (options,) = plan.envoy[CLUSTERS][made["cluster"]].body["typed_extension_protocol_options"].values()
    assert list(options["explicit_http_config"]) == [protocol]


def test_explain_tells_of_a_tunnel_and_of_the_secret() -> None:
    words = "tunnel: {targetHost: a.example, targetPort: 1}, tls: {mode: MUTUAL, credentialName: mine}"
    selected = destination_rule(
        "r", "db", f"workloadSelector: {{matchLabels: {{app: client}}}}\ntrafficPolicy: {{{words}}}"
    )
    told = explain(facts_of(selected), WorkloadId("default", "client"), "db", 5432)
    (said,) = [hop.result for hop in told.hops if hop.step == "policy"]
    assert "TLS MUTUAL by Secret default/mine, " in said
    assert "a tunnel to a.example:1 (CONNECT)" in said
