"""Hosts that no Service has: what a pod reaches at the address of a ServiceEntry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, ROOT, Lab

PROBE = ROOT / "tests" / "support" / "probe.py"


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


HEADLESS = """
apiVersion: v1
kind: Service
metadata: {{name: base}}
spec: {{clusterIP: None, ports: [{{name: tcp, port: 7000}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: base}}
subsets: [{{addresses: [{{ip: {one}}}, {{ip: {two}}}], ports: [{{name: tcp, port: 7000}}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: base}}
spec:
  host: base
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 3}}}}}}
"""


def test_a_rule_holds_for_the_pods_of_a_headless_service_whichever_is_dialled(lab: Lab) -> None:
    one, two = (lab.address(f"default/{name}", "4") for name in ("db-1", "db-2"))
    straight = lab.probe("client", "hold", one, "7000", "--count", "4")
    assert straight == {"opened": 4, "right": 4}, "nobody says anything of them"
    lab.apply(HEADLESS.format(one=one, two=two))
    for there in (one, two):
        assert set(lab.probe("client", "spread", there, "7000", "--count", "20")["answered"]) == {there}
    held = lab.probe("client", "hold", one, "7000", "--count", "3")
    assert held == {"opened": 3, "right": 3}
    refused = lab.exec("client", "/usr/bin/python3", PROBE, "hold", one, "7000", "--count", "4", check=False)
    assert "ConnectionResetError" in refused.stderr, "all pods of the service together have three"


OUTSIDE, PASSED = "198.51.100.77", "198.51.100.78"  # on the node, and nothing that the mesh knows


@pytest.fixture(scope="module")
def outside(lab: Lab) -> Iterator[str]:
    """A server of HTTP at port 80 and one of TCP at 7000, outside of the mesh."""
    for address in (OUTSIDE, PASSED):
        lab.tidegate("lab", "node-exec", "node1", "--", "ip", "address", "add", f"{address}/32", "dev", "lo")
    web = lab.start_on_node("node1", "/usr/bin/python3", ROOT / "tests" / "support" / "web.py", "80")
    tcp = lab.start_on_node("node1", "/usr/bin/python3", PROBE, "serve", "7000")
    command = ["/usr/bin/curl", "-s", f"http://{OUTSIDE}/"]
    eventually(lambda: lab.exec("client", *command, check=False).returncode == 0, "the server is there")
    yield OUTSIDE
    for process in (web, tcp):
        process.terminate()
        process.wait(HANG_SECONDS)


def test_whom_a_client_dialled_stays_where_a_rule_says_passthrough(lab: Lab, outside: str) -> None:
    """The virtual address is itself a server: only who goes on to it meets that one."""
    db = lab.address("default/db-2", "4")
    lab.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: passed}}
spec:
  hosts: [passed.example]
  addresses: [{PASSED}]
  ports: [{{number: 7000, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: {db}}}]
""")
    assert set(lab.probe("client", "spread", PASSED, "7000", "--count", "20")["answered"]) == {db}
    lab.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: passed}
spec: {host: passed.example, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
""")
    assert set(lab.probe("client", "spread", PASSED, "7000", "--count", "20")["answered"]) == {PASSED}


WILDCARD = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wildcard}
spec:
  hosts: ["*.outside.example"]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 7000, name: tcp, protocol: TCP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wildcard}
spec:
  hosts: ["*.outside.example"]
  http: [{route: [{destination: {host: "*.outside.example"}}], headers: {response: {set: {x-by: rule}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: wildcard}
spec:
  host: "*.outside.example"
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}
"""


def test_hosts_that_no_address_names_are_meant_by_what_a_client_says(lab: Lab, outside: str) -> None:
    url = f"http://{outside}/"
    assert "x-by" not in lab.ask("client", url, "-H", "Host:one.outside.example")["headers"]
    lab.apply(WILDCARD)
    named = lab.ask("client", url, "-H", "Host:one.outside.example")
    assert (named["status"], named["headers"].get("x-by")) == (200, "rule"), named
    other = lab.ask("client", url, "-H", "Host:else.example")
    assert (other["status"], other["headers"].get("x-by")) == (200, None)
    assert lab.probe("client", "hold", outside, "7000", "--count", "3") == {"opened": 3, "right": 3}
    refused = lab.exec("client", "/usr/bin/python3", PROBE, "hold", outside, "7000", "--count", "4", check=False)
    assert "ConnectionResetError" in refused.stderr, "of TCP the port says it"
    assert not lab.status()["envoy"]["xds"]["nacks"]
