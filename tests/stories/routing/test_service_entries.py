"""Hosts that no Service has: what a pod reaches at the address of a ServiceEntry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.lab import MANIFESTS, Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("entries")
    lab.up(MANIFESTS / "entries.yaml")
    yield lab
    lab.down()


def test_a_database_outside_is_reached_at_each_address_of_its_range(lab: Lab) -> None:
    """The document's Mongo cluster: virtual addresses by a range, endpoints by their addresses."""
    one, two = (lab.address(f"default/{name}", "4") for name in ("db-1", "db-2"))
    lab.apply(f"""
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {{name: external-svc-mongocluster}}
spec:
  hosts: [mymongodb.somedomain]
  addresses: [192.192.192.192/24]
  ports: [{{number: 27018, name: mongodb, protocol: MONGO}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {{address: {one}, ports: {{mongodb: 7000}}}}
  - {{address: {two}, ports: {{mongodb: 7000}}}}
""")
    for virtual in ("192.192.192.1", "192.192.192.254"):
        answered = lab.probe("client", "spread", virtual, "27018", "--count", "100")["answered"]
        assert set(answered) == {one, two}


def test_machines_and_pods_behind_one_host_get_what_rules_say(lab: Lab) -> None:
    """A selector finds a pod by its labels and a machine by its WorkloadEntry; subsets tell them apart."""
    machine = lab.address("default/machine", "4")
    lab.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.example]
  addresses: [10.9.0.7]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{tier: shop}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: machine}}
spec: {{address: {machine}, labels: {{tier: shop, version: old}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec: {{host: shop.example, subsets: [{{name: old, labels: {{version: old}}}}]}}
""")
    every = lab.ask("client", "http://10.9.0.7/", "--count", "100", "--fresh")
    assert (set(every["statuses"]), set(every["versions"])) == ({"200"}, {"pod", "machine"})
    lab.apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  http: [{route: [{destination: {host: shop.example, subset: old}}]}]
""")
    old = lab.ask("client", "http://10.9.0.7/", "--count", "100", "--fresh")
    assert (set(old["statuses"]), set(old["versions"])) == ({"200"}, {"machine"})


def test_resolution_none_reaches_whoever_is_dialled_through_envoy(lab: Lab) -> None:
    machine = lab.address("default/machine", "4")
    lab.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: plain}}
spec:
  hosts: [plain.example]
  addresses: [{machine}]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: plain}}
spec:
  hosts: [plain.example]
  http: [{{route: [{{destination: {{host: plain.example}}}}], headers: {{response: {{set: {{x-by: rule}}}}}}}}]
""")
    answer = lab.ask("client", f"http://{machine}/")
    assert (answer["status"], answer["body"]["version"], answer["headers"]["x-by"]) == (200, "machine", "rule")


def test_a_host_without_addresses_has_one_that_pods_can_dial(lab: Lab) -> None:
    machine = lab.address("default/machine", "4")
    lab.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: given}}
spec:
  hosts: [given.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: DNS
  endpoints: [{{address: {machine}, ports: {{http: 8080}}}}]
""")
    told = lab.tidegate("explain", "client", "given.example:80", "-o", "json", "--run-dir", lab.node_dirs()[0])
    address = json.loads(told.stdout)["address"]
    assert address.startswith("240.240.")
    assert lab.ask("client", f"http://{address}/")["body"]["version"] == "machine"
    assert lab.ask("client", "http://given.example/")["body"]["version"] == "machine", (
        "by its name, from the node's DNS"
    )


def test_explain_tells_to_which_host_the_name_of_a_handshake_leads(lab: Lab) -> None:
    """The document's TLS passthrough, with two hosts. No handshake is made here: test_l4_routes.py has one."""
    one, two = (lab.address(f"default/{name}", "4") for name in ("db-1", "db-2"))
    lab.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: one}}
spec:
  hosts: [one.example]
  ports: [{{number: 443, name: https, protocol: HTTPS}}]
  resolution: STATIC
  endpoints: [{{address: {one}, ports: {{https: 7000}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: two}}
spec:
  hosts: [two.example]
  ports: [{{number: 443, name: https, protocol: HTTPS}}]
  resolution: STATIC
  endpoints: [{{address: {two}, ports: {{https: 7000}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: sni}}
spec:
  hosts: [one.example, two.example]
  tls:
  - match: [{{port: 443, sniHosts: [one.example]}}]
    route: [{{destination: {{host: one.example}}}}]
  - match: [{{port: 443, sniHosts: [two.example]}}]
    route: [{{destination: {{host: two.example}}}}]
""")
    for name, there in (("one.example", one), ("two.example", two)):
        told = lab.tidegate(
            "explain", "client", "one.example:443", "--sni", name, "-o", "json", "--run-dir", lab.node_dirs()[0]
        )
        assert [e["address"] for e in json.loads(told.stdout)["endpoints"]] == [there]
    assert names_answered(lab, "one.example") == 0


def names_answered(lab: Lab, host: str) -> int:
    """Exit code of who asks for a host in the pod: 0 if it has an address."""
    return lab.exec("client", "getent", "ahostsv4", host, check=False).returncode


def test_a_host_that_is_not_exported_to_a_pod_has_no_name_there(lab: Lab) -> None:
    lab.apply("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: theirs}
spec:
  hosts: [theirs.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
  exportTo: [elsewhere]
""")
    assert names_answered(lab, "theirs.example") == 2, "the pod's own resolver says that there is none"
