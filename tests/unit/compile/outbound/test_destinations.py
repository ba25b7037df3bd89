"""Rows of the kernel's table and services of the fast path."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.support.configs import ENROLLED, config_of, destination_rule, pod, service, virtual_service
from tests.support.world import World

from tidegate.compile.derive import Derivations
from tidegate.compile.facts import join
from tidegate.compile.l4.numbers import service_numbers
from tidegate.compile.outbound.destinations import Destinations, FindDestinations
from tidegate.model.kube import Pod, Protocol, Service, ServicePort
from tidegate.model.mesh import Mesh
from tidegate.model.names import ServiceName, WorkloadId
from tidegate.model.plan.relay import LoadBalancing
from tidegate.model.tier import Tier


def found(config: Mesh) -> Destinations:
    derivations = Derivations()
    derivations.change(join(config, ()).tables)
    return FindDestinations(derivations)()


def rows(config: Mesh) -> dict[str, str]:
    return {f"{r.address} {r.port}": r.tier.name for r in found(config).rows}


def test_tiers() -> None:
    config = config_of(
        ENROLLED,
        service("web", "http:80", "tcp:81", ips="10.96.0.1,fd00::1"),
        service("heads", "http:8000", "tcp:8001", ips="None", selector="app: web"),
        pod("w", "app: web", "10.244.0.1", "fd01::1"),
        "apiVersion: v1\nkind: Service\nmetadata: {name: dns}\n"
        "spec: {clusterIP: 10.96.0.9, ports: [{port: 53, protocol: UDP}]}",
    )
    assert rows(config) == {
        "10.96.0.1 80": "ENVOY",
        "10.96.0.1 81": "FASTPATH",
        "fd00::1 80": "ENVOY",
        "fd00::1 81": "FASTPATH",
        "10.244.0.1 0": "DIRECT",
        "fd01::1 0": "DIRECT",
        "10.244.0.1 8000": "ENVOY",
        "fd01::1 8000": "ENVOY",
    }


def test_endpoints_have_the_family_that_was_dialled() -> None:
    config = config_of(
        service("db", "tcp:3306:sql", ips="10.96.0.1,fd00::1"),
        pod("a", "app: db", "10.244.0.1", "fd01::1", ports="{containerPort: 1, name: sql}"),
        pod("b", "app: db", "10.244.0.2", ports="{containerPort: 2, name: sql}"),
        pod("portless", "app: db", "10.244.0.3"),
        pod("unready", "app: db", "10.244.0.4", ready=False, ports="{containerPort: 1, name: sql}"),
        pod("elsewhere", "app: db", "10.244.0.5", namespace="other", ports="{containerPort: 1, name: sql}"),
    )
    services = found(config).l4
    assert {(str(s.addresses[0][0]), *(f"{e.address} {e.port}" for e in s.endpoints)) for s in services} == {
        ("10.96.0.1", "10.244.0.1 1", "10.244.0.2 2"),
        ("fd00::1", "fd01::1 1"),
    }
    # A pod that does not listen in that family is reached in its other one; a pod of one family is not.
    assert {f"{e.address} or {e.other}" for s in services for e in s.endpoints} == {
        "10.244.0.1 or fd01::1",
        "10.244.0.2 or None",
        "fd01::1 or 10.244.0.1",
    }
    assert len({s.number for s in services}) == 2
    assert {s.name for s in services} == {"db.default.svc.cluster.local:3306"}


@pytest.mark.case("B2")
def test_a_service_of_one_family_stays_in_it() -> None:
    config = config_of(service("db", "tcp:1", ips="10.96.0.1"), pod("a", "app: db", "10.244.0.1", "fd01::1"))
    assert [(str(e.address), e.other) for e in found(config).l4[0].endpoints] == [("10.244.0.1", None)]


def test_unready_pods_when_the_service_publishes_them() -> None:
    text = service("db", "tcp:1", ips="10.96.0.1", spec="publishNotReadyAddresses: true")
    config = config_of(text, pod("a", "app: db", "10.244.0.1", ready=False))
    assert len(found(config).l4[0].endpoints) == 1


def by_hand(name: str, *ports: str, ips: str, spec: str = "") -> str:
    """A Service without selector."""
    return service(name, *ports, ips=ips, spec=spec).replace(f"selector: {{app: {name}}}", "")


def written_down(
    service: str, endpoints: str, *, name: str = "s1", ports: str = "{name: tcp, port: 5432}", more: str = ""
) -> str:
    """An EndpointSlice. endpoints, ports: in flow style without the outer brackets."""
    family = "IPv6" if "::" in endpoints else "IPv4"
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}{more}}}}}
addressType: {family}
ports: [{ports}]
endpoints: [{endpoints}]
"""


def served(config: Mesh) -> list[str]:
    return [f"{e.address} {e.port}" for s in found(config).l4 for e in s.endpoints]


@pytest.mark.case("D3")
def test_a_virtual_address_of_which_nothing_is_known_is_left_alone() -> None:
    text = by_hand("db", "tcp:1", "http:80", ips="10.96.0.1")
    assert rows(config_of(text, pod("a", "app: db", "10.244.0.1"))) == {"10.244.0.1 0": "DIRECT"}


@pytest.mark.case("D3")
def test_a_service_whose_endpoints_are_written_down_is_served() -> None:
    db = by_hand("db", "tcp:5432", "http:80", ips="10.96.0.1")
    config = config_of(db, written_down("db", "{addresses: [192.0.2.7]}"))
    assert rows(config) == {"10.96.0.1 5432": "FASTPATH", "10.96.0.1 80": "ENVOY"}
    assert served(config) == ["192.0.2.7 5432"]


@pytest.mark.case("D3")
def test_several_slices_of_both_families_and_ports_by_name() -> None:
    db = by_hand("db", "tcp:1", "admin:2", ips="10.96.0.1,fd00::1")
    both = "{name: tcp, port: 11}, {name: admin, port: 22}"
    config = config_of(
        db,
        written_down("db", "{addresses: [192.0.2.7, 192.0.2.99]}", ports=both),
        written_down("db", "{addresses: [192.0.2.8]}", name="s2", ports="{name: admin, port: 33}, {port: 44}"),
        written_down("db", "{addresses: ['2001:db8::7']}", name="s3", ports=both),
    )
    assert {
        (str(s.addresses[0][0]), s.name[-1], *(f"{e.address} {e.port}" for e in s.endpoints)) for s in found(config).l4
    } == {
        ("10.96.0.1", "1", "192.0.2.7 11"),
        ("fd00::1", "1", "2001:db8::7 11"),
        ("10.96.0.1", "2", "192.0.2.7 22", "192.0.2.8 33"),
        ("fd00::1", "2", "2001:db8::7 22"),
    }


@pytest.mark.case("D3")
@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        (("", "ready: false"), "1"),
        (("ready: true", "ready: false, serving: true, terminating: true"), "1"),
        (("ready: false, serving: false", "ready: false, serving: true, terminating: true"), "2"),
        (("ready: false, terminating: true", "ready: false"), "1"),
        (("ready: false", "ready: false, serving: false, terminating: true"), ""),
    ],
)
def test_conditions_mean_what_they_mean_to_kube_proxy(conditions: tuple[str, str], taken: str) -> None:
    endpoints = ", ".join(f"{{addresses: [192.0.2.{i}], conditions: {{{c}}}}}" for i, c in enumerate(conditions, 1))
    config = config_of(by_hand("db", "tcp:1", ips="10.96.0.1"), written_down("db", endpoints))
    assert [e.split()[0][-1] for e in served(config)] == list(taken)
    assert rows(config)["10.96.0.1 1"] == ("FASTPATH" if taken else "REFUSE")


@pytest.mark.case("D3")
def test_what_a_cluster_derives_from_a_selector_is_not_believed_beside_the_selector() -> None:
    stale = written_down(
        "web",
        "{addresses: [10.244.0.9]}",
        more=", endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io",
    )
    web, one = service("web", "tcp:1:5432", ips="10.96.0.1"), pod("w", "app: web", "10.244.0.1")
    assert served(config_of(web, one, stale)) == ["10.244.0.1 5432"]
    assert served(config_of(web, one, written_down("web", "{addresses: [192.0.2.7]}"))) == [
        "10.244.0.1 5432",
        "192.0.2.7 5432",
    ]


@pytest.mark.case("D3")
def test_an_endpoints_object_is_read_as_slices_are() -> None:
    text = """
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets:
- addresses: [{ip: 192.0.2.7}]
  notReadyAddresses: [{ip: 192.0.2.8}]
  ports: [{name: tcp, port: 11}]
- addresses: [{ip: 192.0.2.9}]
  ports: [{name: tcp, port: 12}]
"""
    assert served(config_of(by_hand("db", "tcp:1", ips="10.96.0.1"), text)) == ["192.0.2.7 11", "192.0.2.9 12"]
    beside = config_of(service("db", "tcp:1", ips="10.96.0.1"), text)
    assert served(beside) == [], "with a selector a cluster would not make slices of it either"


@pytest.mark.case("D3")
def test_http_to_a_headless_service_whose_endpoints_are_written_down() -> None:
    heads = by_hand("heads", "http:80", ips="None")
    assert rows(config_of(heads, written_down("heads", "{addresses: [192.0.2.7]}"))) == {"192.0.2.7 80": "ENVOY"}
    assert rows(config_of(heads)) == {}


@pytest.mark.case("D3")
def test_a_route_to_somebody_else_serves_a_service_without_endpoints() -> None:
    front, web = by_hand("front", "http:80", "tcp:81", ips="10.96.0.1"), service("web", "http:80", ips="10.96.0.2")
    rule = virtual_service("v", "front", "- route: [{destination: {host: web}}]")
    assert rows(config_of(front, web, rule)) == {"10.96.0.1 80": "ENVOY", "10.96.0.2 80": "ENVOY"}
    assert rows(config_of(front, web)) == {"10.96.0.2 80": "ENVOY"}


@pytest.mark.case("D3")
def test_a_service_that_nobody_can_serve_does_not_keep_its_address_from_one_that_can_be() -> None:
    config = config_of(
        by_hand("a", "tcp:80", ips="10.96.0.1"), service("b", "tcp:80", ips="10.96.0.1"), pod("p", "app: b", "10.1.0.1")
    )
    assert [claim.service.id.name for claim in found(config).claims] == ["b"]


@pytest.mark.case("B3")
def test_what_no_endpoint_serves_is_refused_by_the_kernel_but_http_may_be_routed_elsewhere() -> None:
    web = service("web", "http:80", "tcp:81", ips="10.96.0.1,fd00::1")
    assert rows(config_of(web)) == {
        "10.96.0.1 80": "ENVOY",
        "10.96.0.1 81": "REFUSE",
        "fd00::1 80": "ENVOY",
        "fd00::1 81": "REFUSE",
    }
    assert rows(config_of(web, pod("p", "app: web", "10.1.0.1")))["10.96.0.1 81"] == "FASTPATH"
    assert rows(config_of(web, pod("p", "app: web", "10.1.0.1", ready=False)))["10.96.0.1 81"] == "REFUSE"


def test_load_balancing_of_a_destination_rule() -> None:
    base = (service("db", "tcp:1", "tcp2:2", ips="10.96.0.1"), pod("a", "app: db", "10.244.0.1"))
    assert {s.balancing for s in found(config_of(*base)).l4} == {LoadBalancing.LEAST_REQUEST}
    rule = destination_rule(
        "d",
        "db",
        """
        trafficPolicy:
          loadBalancer: {simple: ROUND_ROBIN}
          portLevelSettings: [{port: {number: 2}, loadBalancer: {simple: RANDOM}}]
        """,
    )
    by_port = {s.addresses[0][1]: s.balancing for s in found(config_of(*base, rule)).l4}
    assert by_port == {1: LoadBalancing.ROUND_ROBIN, 2: LoadBalancing.RANDOM}


def test_an_address_belongs_to_the_older_of_two_services() -> None:
    config = config_of(
        service("b", "tcp:80", ips="10.96.0.1"),
        service("a", "http:80", ips="10.96.0.1"),
        pod("p", "app: b", "10.1.0.1"),
    )
    assert rows(config)["10.96.0.1 80"] == "FASTPATH"
    (claim,) = found(config).claims
    assert claim.service.id.name == "b"


def test_host_network_pods_have_no_row() -> None:
    text = pod("p", "a: b", "10.0.0.1").replace("spec: {", "spec: {hostNetwork: true, ")
    assert rows(config_of(text)) == {}


def test_numbers_depend_on_the_name_alone() -> None:
    few, many = service_numbers(["a", "b"]), service_numbers(["c", "b", "a", "d"])
    assert few.items() <= many.items()
    assert len(set(many.values())) == 4
    assert all(0 < n < 2**32 for n in many.values())


def test_every_row_has_a_named_service() -> None:
    config = config_of(service("a", "http:80", "tcp:81", ips="10.96.0.1,fd00::1"), pod("p", "app: a", "10.244.0.1"))
    result = found(config)
    assert {r.service for r in result.rows if r.tier is not Tier.DIRECT} == set(result.numbers)


def test_found_after_changes_is_found_from_nothing_and_the_same_objects_where_nothing_changed() -> None:
    for seed in range(15):
        world, derivations = World(seed), Derivations()
        facts, find, before = world.join(), FindDestinations(derivations), Destinations((), (), (), (), (), {})
        for step in range(50):
            for _ in range(world.random.randrange(1, 3)):
                world.change()
            facts = world.join(facts)
            derivations.change(facts.tables)
            now = find()
            derivations.forget_unused()
            again = Derivations()
            again.change(world.join().tables)
            assert now == FindDestinations(again)(), (seed, step)
            again.forget_unused()
            assert len(derivations) == len(again)
            for name in ("claims", "rows", "l4"):
                old, new = getattr(before, name), getattr(now, name)
                assert new is old or new != old
                same = [any(item is other for other in old) for item in new]
                assert same == [item in old for item in new], (seed, step, name)
            before = now


def test_one_service_of_a_thousand_costs_its_own() -> None:
    mesh = thousand_services()
    derivations = Derivations()
    facts, find = join(mesh, ()), FindDestinations(derivations)
    derivations.change(facts.tables)
    before, runs = find(), derivations.runs
    changed = replace(mesh.services[7], ports=(ServicePort(80, "tcp"),))
    services = (*mesh.services[:7], changed, *mesh.services[8:])
    derivations.change(join(replace(mesh, services=services), (), facts).tables)
    now = find()
    assert len(now.l4) == 1
    assert derivations.runs - runs < 10
    assert [a for a, b in zip(before.rows, now.rows, strict=True) if a is not b] == [
        row for row in before.rows if row.address in changed.addresses
    ]


def thousand_services() -> Mesh:
    names = sorted(f"s{n}" for n in range(1000))
    http = (ServicePort(80, "http", Protocol.HTTP),)
    services = tuple(
        Service(ServiceName("default", name), http, (ip_address(0x0A600000 + n),), selector={"app": name})
        for n, name in enumerate(names)
    )
    pods = tuple(
        Pod(WorkloadId("default", name), {"app": name}, ips=(ip_address(0x0A000000 + n),), ready=True)
        for n, name in enumerate(names)
    )
    return Mesh(generation=1, services=services, pods=pods)
