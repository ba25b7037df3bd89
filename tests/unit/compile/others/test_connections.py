"""Connections that nobody looks into, at Envoys that are not ours: `tcp` and `tls` routes, and the rest."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import destination_rule, entry, mesh_config, pod, service
from tests.support.others import BY_HAND, chains, dangling, made_for, sidecar

from tidegate.compile.others.client import Client
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, ROUTES, Resources

DB, WEB = "outbound|5432||db.default.svc.cluster.local", "outbound|5432||web.default.svc.cluster.local"
SAFE = "outbound|8443||safe.default.svc.cluster.local"
STRICT = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")


def l4(name: str, hosts: str, routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{hosts}], {routes}}}
"""


def to(*targets: str) -> str:
    return "route: [" + ", ".join(f"{{destination: {{{t}}}}}" for t in targets) + "]"


V1 = destination_rule("db", "db", "subsets: [{name: v1, labels: {version: v1}}]")
HALVES = """
tcp:
    - route:
      - {destination: {host: db, subset: v1, port: {number: 5432}}, weight: 30}
      - {destination: {host: web, port: {number: 5432}}, weight: 70}
"""


@pytest.mark.parametrize(
    ("who", "host", "listener"),
    # By hand the oldest service has the port.
    [(sidecar(), "db", "10.96.0.2_5432"), (BY_HAND, "web", "127.0.0.1_5432")],
    ids=["sidecar", "by hand"],
)
def test_weights_of_tcp_routes_are_theirs(who: Client, host: str, listener: str) -> None:
    rule = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: halves, namespace: default}}
spec:
  hosts: [{host}]
  {HALVES.strip()}
"""
    found = made_for(who, V1, rule)
    assert chains(found, listener) == {"any": {"outbound|5432|v1|db.default.svc.cluster.local": 30, WEB: 70}}
    assert dangling(found) == []


def test_a_route_for_others_is_not_theirs() -> None:
    rule = l4(
        "db", "db", f"tcp: [{{match: [{{sourceLabels: {{app: other}}}}], {to('host: web, port: {number: 5432}')}}}]"
    )
    assert chains(made_for(sidecar(), rule), "10.96.0.2_5432") == {"any": DB}
    own = rule.replace("app: other", "app: web")
    assert chains(made_for(sidecar(), own), "10.96.0.2_5432") == {"any": WEB}


@pytest.mark.parametrize(("subnet", "cluster"), [("10.96.0.0/30", WEB), ("10.96.0.128/25", DB)])
def test_what_was_dialled_decides_for_destination_subnets(subnet: str, cluster: str) -> None:
    route = to("host: web, port: {number: 5432}")
    rule = l4("db", "db", f"tcp: [{{match: [{{destinationSubnets: [{subnet}]}}], {route}}}]")
    assert chains(made_for(sidecar(), rule), "10.96.0.2_5432") == {"any": cluster}


def test_a_name_of_the_handshake_chooses_a_tls_route() -> None:
    match = "match: [{sniHosts: [one.example, '*.two.example']}]"
    rule = l4(
        "safe", "safe, one.example, '*.two.example'", f"tls: [{{{match}, {to('host: db, port: {number: 5432}')}}}]"
    )
    found = made_for(sidecar(), rule)
    assert chains(found, "10.96.0.3_8443") == {"one.example *.two.example": DB}
    body = found[LISTENERS]["10.96.0.3_8443"].body
    assert [f["name"] for f in body["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]
    assert body["continue_on_listener_filters_timeout"] is True


def test_who_needs_no_name_is_not_kept_waiting_for_one() -> None:
    """A server that speaks first would be waited for as long as the inspector waits."""
    assert all(
        "listener_filters" not in item.body for item in made_for(sidecar())[LISTENERS].values() if "_" in item.name
    )


def test_services_of_one_port_are_told_apart_by_name_where_nobody_knows_what_was_dialled() -> None:
    other = service("other", "tls:8443", ips="10.96.0.9") + "---" + pod("other-1", "app: other", "10.0.0.9")
    found = chains(made_for(BY_HAND, other), "127.0.0.1_8443")
    cluster = "outbound|8443||other.default.svc.cluster.local"
    names = "other other.default other.default.svc other.default.svc.cluster.local"
    assert found == {"any": SAFE, names: cluster}


def test_what_a_rule_says_of_connections_holds_for_them() -> None:
    pool = "connectionPool: {tcp: {idleTimeout: 7s, maxConnectionDuration: 9s}}"
    policy = f"trafficPolicy: {{{pool}, loadBalancer: {{consistentHash: {{useSourceIp: true}}}}}}"
    listener = made_for(sidecar(), destination_rule("db", "db", policy))[LISTENERS]["10.96.0.2_5432"]
    config = listener.body["filter_chains"][0]["filters"][0]["typed_config"]
    assert (config["idle_timeout"], config["max_downstream_connection_duration"]) == ("7s", "9s")
    assert config["hash_policy"] == [{"source_ip": {}}]


# --- hosts outside of the mesh ----------------------------------------------------------------------------------------
def ports(protocol: str, number: int) -> str:
    return f"ports: [{{number: {number}, name: p, protocol: {protocol}}}]"


def test_a_host_without_addresses_is_found_by_what_a_tls_client_asks_for() -> None:
    """The address that the mesh gives to it is one that only the mesh's own DNS tells."""
    one = entry("one", "one.example", f"{ports('TLS', 443)}, resolution: DNS")
    wild = entry("wild", "'*.wild.example'", f"{ports('TLS', 443)}, resolution: NONE")
    found = made_for(sidecar(), one, wild)
    assert chains(found, "0.0.0.0_443") == {
        "one.example": "outbound|443||one.example",
        "*.wild.example": "outbound|443||*.wild.example",
    }
    assert not [name for name in found[LISTENERS] if name.startswith("240.")]
    assert dangling(found) == []


def test_without_a_name_nothing_is_taken_for_a_host_without_addresses() -> None:
    """All connections of a port would be: every database in the world is at 5432."""
    found = made_for(sidecar(), entry("one", "one.example", f"{ports('TCP', 6000)}, resolution: DNS"))
    assert not [name for name in found[LISTENERS] if name.endswith("_6000")]
    anywhere = made_for(sidecar(), entry("any", "any.example", f"{ports('TCP', 6000)}, resolution: NONE"))
    assert chains(anywhere, "0.0.0.0_6000") == {"any": "outbound|6000||any.example"}
    assert anywhere[CLUSTERS]["outbound|6000||any.example"].body["type"] == "ORIGINAL_DST"


def test_names_and_http_share_a_port() -> None:
    found = made_for(
        sidecar(),
        entry("one", "one.example", f"{ports('TLS', 80)}, resolution: DNS"),
        entry("two", "one.example", f"{ports('TLS', 8443)}, resolution: DNS"),
    )
    assert chains(found, "0.0.0.0_80") == {"any": "80", "one.example": "outbound|80||one.example"}


def test_many_addresses_are_chains_of_one_listener() -> None:
    found = made_for(
        sidecar(), entry("net", "net.example", f"addresses: [10.98.0.0/26], {ports('TCP', 6000)}, resolution: NONE")
    )
    assert chains(found, "0.0.0.0_6000") == {"10.98.0.0/26": "outbound|6000||net.example"}


def test_a_host_of_an_entry_has_no_other_spelling() -> None:
    found = made_for(sidecar(), entry("web", "web.example", f"{ports('HTTP', 80)}, resolution: DNS"))
    domains = {host["name"]: host["domains"] for host in found[ROUTES]["80"].body["virtual_hosts"]}
    assert domains["web.example:80"][0] == "web.example"
    assert not [d for d in domains["web.example:80"] if d.startswith("web.default")]
    assert "web" in domains["web.default.svc.cluster.local:80"]


# --- what nobody has --------------------------------------------------------------------------------------------------
def rest(found: Resources) -> tuple[Any, Any]:
    """Where connections go that no listener is for, and requests that no virtual host is for."""
    [host] = [h for h in found[ROUTES]["80"].body["virtual_hosts"] if "*" in h["domains"]]
    return chains(found, "virtualOutbound")["any"], [r.get("direct_response") for r in host["routes"]]


def test_only_what_the_registry_has_is_let_through_where_the_mesh_says_so() -> None:
    assert rest(made_for(sidecar())) == ("PassthroughCluster", [None])
    assert rest(made_for(sidecar(), STRICT)) == ("BlackHoleCluster", [{"status": 502}] * 2)
    assert dangling(made_for(sidecar(), STRICT)) == []


@pytest.mark.parametrize(("labels", "refused"), [("app: web", True), ("app: other", False)])
def test_a_sidecar_resource_says_it_for_its_workloads(labels: str, refused: bool) -> None:
    text = f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: strict, namespace: default}}
spec: {{workloadSelector: {{labels: {{{labels}}}}}, outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}
"""
    assert (rest(made_for(sidecar(), text))[0] == "BlackHoleCluster") == refused


def test_what_is_routed_to_pods_of_a_headless_service_is_there() -> None:
    heads = service("heads", "http:81", ips="None") + "---" + pod("heads-1", "app: heads", "10.0.0.4")
    rule = l4("web", "web", "http: [{route: [{destination: {host: heads}}]}]")
    found = made_for(sidecar(), heads, rule)
    missing = [n for item in found[ROUTES].values() for n in item.needs(CLUSTERS) if n not in found[CLUSTERS]]
    assert missing == []
    assert found[CLUSTERS]["outbound|81|+lb|heads.default.svc.cluster.local"].body["type"] == "EDS"
