"""What Envoys and gRPC clients that are not ours get, resource by resource."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.configs import ENROLLED, config_of, destination_rule, mesh_of, pod, service, virtual_service
from tests.support.gateways import gateway, server
from tests.support.world import World

from tidegate.compile.facts import Facts, join
from tidegate.compile.others.client import Client, Flavour, Sources, client
from tidegate.compile.others.served import known, resources
from tidegate.model.names import WorkloadId
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, MadeOnDemand, Resources
from tidegate.xds.encode import KINDS, Encoder

SIDECAR = "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local"
MESH = (
    ENROLLED,
    service("web", "http:80:8080", "tcp-db:5432", ips="10.96.0.1"),
    service("api", "http:80", ips="10.96.0.2,fd00::2", namespace="other"),
    service("plain", "tcp:80", ips="10.96.0.3"),
    service("heads", "http:81", "tcp:5432", ips="None"),
    pod("web-1", "app: web", "10.0.0.1"),
    pod("heads-1", "app: heads", "10.0.0.2"),
    pod("api-1", "app: api, version: v1", "10.0.0.3", namespace="other"),
)
BY_HAND = Client(sources=Sources("xds_cluster"))


def facts_of(*more: str) -> Facts:
    return join(config_of(*MESH, *more), ())


def made(who: Client, *more: str) -> Resources:
    facts = facts_of(*more)
    return resources(facts, known(facts, who))


def sidecar(**metadata: Any) -> Client:
    return client(SIDECAR, metadata)


# --- who asks ---------------------------------------------------------------------------------------------------------
def test_a_sidecar_is_known_by_its_id_and_what_the_mesh_knows_counts_more() -> None:
    said = sidecar(LABELS={"app": "liar"}, NODE_NAME="n1", INSTANCE_IPS="10.9.9.9,fd00::9")
    assert (said.pod, said.namespace, said.captured) == (WorkloadId("default", "web-1"), "default", True)
    assert said.addresses == (ip_address("10.9.9.9"), ip_address("fd00::9"), ip_address("10.0.0.1"))
    told = known(facts_of(), said)
    assert (told.labels, told.addresses, told.node) == ((("app", "web"),), (ip_address("10.0.0.1"),), "n1")


@pytest.mark.parametrize(
    ("node_id", "metadata", "flavour", "captured"),
    [
        ("router~10.0.0.1~gw.edge~edge.svc.cluster.local", {}, Flavour.ROUTER, False),
        (SIDECAR, {"GENERATOR": "grpc"}, Flavour.GRPC, False),
        (SIDECAR, {"INTERCEPTION_MODE": "NONE"}, Flavour.SIDECAR, False),
        (SIDECAR, {"INTERCEPTION_MODE": "TPROXY"}, Flavour.SIDECAR, True),
        ("envoy-1", {}, Flavour.SIDECAR, False),
        ("a~b~c~d~e", {}, Flavour.SIDECAR, False),
        ("sidecar~no-address~x~y", {"LABELS": ["odd"], "NAMESPACE": 7, "INSTANCE_IPS": {}}, Flavour.SIDECAR, True),
    ],
)
def test_whatever_a_node_says_of_itself_is_read(
    node_id: str, metadata: dict[str, Any], flavour: Flavour, captured: bool
) -> None:
    found = client(node_id, metadata)
    assert (found.flavour, found.captured, found.labels) == (flavour, captured, ())


# --- listeners --------------------------------------------------------------------------------------------------------
def test_a_sidecar_gets_istios_listeners() -> None:
    found = made(sidecar())[LISTENERS]
    assert sorted(found) == [
        "0.0.0.0_80",
        "0.0.0.0_81",
        "10.0.0.2_5432",
        "10.96.0.1_5432",
        "10.96.0.3_80",
        "virtualInbound",
        "virtualOutbound",
    ]
    assert all(found[name].body["bind_to_port"] is False for name in found if "_" in name)
    assert found["virtualOutbound"].body["use_original_dst"] is True


def test_an_envoy_by_hand_is_dialled_itself() -> None:
    found = made(BY_HAND)[LISTENERS]
    assert sorted(found) == ["127.0.0.1_5432", "127.0.0.1_80", "127.0.0.1_81"]
    assert all("bind_to_port" not in item.body for item in found.values())
    assert "api_config_source" in str(found["127.0.0.1_80"].body)
    assert "'ads'" not in str(found["127.0.0.1_80"].body)


def test_a_service_on_a_port_of_the_sidecar_itself_does_not_break_it() -> None:
    odd = service("odd", "http:15001", ips="10.96.0.9") + "---" + pod("odd-1", "app: odd", "10.0.0.9")
    found = made(sidecar(), odd)[LISTENERS]
    assert "0.0.0.0_15001" not in found
    assert "virtualOutbound" in found


def test_an_http_port_wins_where_only_one_can_listen() -> None:
    [chain] = made(BY_HAND)[LISTENERS]["127.0.0.1_80"].body["filter_chains"]
    assert chain["filters"][0]["name"] == "envoy.filters.network.http_connection_manager"


def test_what_reaches_a_pod_is_served_by_the_ports_of_its_services() -> None:
    listener = made(sidecar())[LISTENERS]["virtualInbound"]
    chains = {c["filter_chain_match"]["destination_port"]: c["filters"][0] for c in listener.body["filter_chains"]}
    assert {port: f["name"].rpartition(".")[2] for port, f in chains.items()} == {
        8080: "http_connection_manager",
        5432: "tcp_proxy",
    }
    assert {"inbound|8080||", "inbound|5432||", "InboundPassthroughCluster"} <= made(sidecar())[CLUSTERS].keys()


# --- routes -----------------------------------------------------------------------------------------------------------
def hosts(found: Resources, name: str) -> dict[str, list[str]]:
    return {host["name"]: host["domains"] for host in found[ROUTES][name].body["virtual_hosts"]}


def test_the_routes_of_a_port_name_each_service_as_the_client_may() -> None:
    assert hosts(made(sidecar()), "80") == {
        "web.default.svc.cluster.local:80": [
            "web",
            "web.default",
            "web.default.svc",
            "web.default.svc.cluster.local",
            "10.96.0.1",
        ],
        "api.other.svc.cluster.local:80": [
            "api.other",
            "api.other.svc",
            "api.other.svc.cluster.local",
            "10.96.0.2",
            "[fd00::2]",
        ],
        "allow_any": ["*"],
    }


def test_a_port_with_one_service_serves_every_host_to_who_dialled_the_proxy() -> None:
    assert hosts(made(BY_HAND), "81")["only_service"] == ["*"]
    assert hosts(made(BY_HAND), "80")["block_all"] == ["*"]


def test_a_host_that_is_no_service_has_routes_of_its_own() -> None:
    rule = virtual_service("shop", "shop.example", "- route: [{destination: {host: web}}]")
    found = made(sidecar(), rule)
    assert hosts(found, "80")["shop.example:80"] == ["shop.example"]
    assert found[ROUTES]["80"].needs(CLUSTERS) == [
        "outbound|80||api.other.svc.cluster.local",
        "outbound|80||web.default.svc.cluster.local",
    ]


def test_rules_for_other_namespaces_are_not_seen() -> None:
    rule = virtual_service("api", "api", "- directResponse: {status: 418}", namespace="other", more='exportTo: ["."]')
    assert "418" not in str(made(sidecar(), rule)[ROUTES])
    assert "418" in str(made(Client(namespace="other"), rule)[ROUTES])


# --- clusters ---------------------------------------------------------------------------------------------------------
def test_each_client_has_its_own_policy_under_istios_name() -> None:
    rule = destination_rule("api", "api.other.svc.cluster.local", "trafficPolicy: {loadBalancer: {simple: RANDOM}}")
    name = "outbound|80||api.other.svc.cluster.local"
    assert made(sidecar(), rule)[CLUSTERS][name].body["lb_policy"] == "RANDOM"
    assert made(Client(namespace="other"), rule)[CLUSTERS][name].body["lb_policy"] == "LEAST_REQUEST"


def test_an_endpoint_that_two_pods_have_is_told_once() -> None:
    twice = pod("web-2", "app: web", "10.0.0.1")
    [group] = made(sidecar(), twice)[ENDPOINTS]["outbound|80||web.default.svc.cluster.local"].body["endpoints"]
    assert len(group["lb_endpoints"]) == 1


def test_who_cannot_know_what_was_dialled_chooses_a_pod_of_a_headless_service() -> None:
    name = "outbound|81||heads.default.svc.cluster.local"
    assert made(sidecar())[CLUSTERS][name].body["type"] == "ORIGINAL_DST"
    assert made(BY_HAND)[CLUSTERS][name].body["type"] == "EDS"
    assert name in made(BY_HAND)[ENDPOINTS]


GATEWAYS = (
    gateway(
        "edge",
        server(80, "HTTP", '"*"'),
        server(443, "HTTPS", '"*"', tls="mode: SIMPLE, credentialName: pair"),
        server(31400, "TCP", '"*"'),
    ),
    Authority().issue("shop.example").secret("pair"),
    virtual_service(
        "shop", "shop.example", "- route: [{destination: {host: web}}]", more="gateways: [istio-system/edge]"
    ),
)


def test_a_gateway_gets_what_gateways_say_of_its_labels_and_no_certificate() -> None:
    said = client("router~10.0.0.9~gw.istio-system~x", {"LABELS": {"istio": "ingressgateway"}})
    found = made(said, *GATEWAYS)
    assert list(found[LISTENERS]) == ["0.0.0.0_80"]
    (host,) = found[ROUTES]["http.80"].body["virtual_hosts"]
    target = host["routes"][0]["route"]["cluster"]
    assert target in found[CLUSTERS]
    assert target in found[ENDPOINTS]
    assert not found["secrets"]
    assert not made(replace(said, labels=()), *GATEWAYS)[LISTENERS]


def test_what_a_sidecar_does_not_import_or_is_not_exported_is_not_told() -> None:
    narrow = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: ["./*"]}]}
"""
    api = "outbound|80||api.other.svc.cluster.local"
    assert api in made(sidecar())[CLUSTERS]
    assert api not in made(sidecar(), narrow)[CLUSTERS]
    assert found_by_grpc(narrow) is None


def found_by_grpc(*more: str) -> object:
    return made(client(SIDECAR, {"GENERATOR": "grpc"}), *more)[LISTENERS].get("api.other")


# --- all of it --------------------------------------------------------------------------------------------------------
KINDS_OF_CLIENT = [sidecar(), BY_HAND, sidecar(INTERCEPTION_MODE="NONE"), Client(Flavour.ROUTER, namespace="edge")]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("who", KINDS_OF_CLIENT, ids=["sidecar", "by hand", "not captured", "router"])
def test_nothing_refers_to_what_is_not_there(who: Client, seed: int) -> None:
    world = World(seed)
    for _ in range(60):
        world.change()
    facts = join(world.mesh, ())
    found = resources(facts, known(facts, who))
    image = Encoder().publish(1, {kind: found.get(kind, {}) for kind in KINDS})
    # The generator makes rules that hash by nothing, which validation would not let through.
    assert not [rejection for rejection in image.broken if "CONSISTENT_HASH" not in rejection.detail]
    for kind in (LISTENERS, ROUTES, CLUSTERS):
        for item in found[kind].values():
            missing = [ref for ref in item.refs if ref.name not in found[ref.kind]]
            assert not [ref for ref in missing if not unknown(facts, ref.name)], item.name


def unknown(facts: Facts, name: str) -> bool:
    """Whether a rule names something that the mesh does not have: Envoy answers 503 for it, as Istio has it."""
    parts = name.split("|")
    service = facts.services.get(parts[-1])
    return service is None or service.port(int(parts[1])) is None or bool(parts[2].partition("+")[0])


@pytest.mark.parametrize("who", KINDS_OF_CLIENT[:2], ids=["sidecar", "by hand"])
def test_the_order_of_files_does_not_matter(who: Client) -> None:
    texts = [*MESH, virtual_service("shop", "shop.example", "- route: [{destination: {host: web}}]")]
    files = [(f"{number}.yaml", text) for number, text in enumerate(texts)]
    told = []
    for seed in range(5):
        random.Random(seed).shuffle(files)
        facts = join(mesh_of(dict(files)), ())
        found = resources(facts, known(facts, who))
        told.append({kind: {name: item.body for name, item in table.items()} for kind, table in found.items()})
    assert all(one == told[0] for one in told)


def test_grpc_gets_what_it_asks_for_by_name() -> None:
    found = made(client(SIDECAR, {"GENERATOR": "grpc"}))
    assert isinstance(found[LISTENERS], MadeOnDemand)
    assert not list(found[LISTENERS])
    assert found[LISTENERS]["web:80"].needs(ROUTES) == ["outbound|80||web.default.svc.cluster.local"]
    # Who says no port means the only one there is; web has two.
    assert found[LISTENERS].get("api.other") is not None
    assert found[LISTENERS].get("web") is None
    for name in ("nobody:80", "web:81", "", ":80", "[::1", "xds.istio.io/grpc/lds/inbound/nowhere:1"):
        assert found[LISTENERS].get(name) is None, name
