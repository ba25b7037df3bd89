"""tcp and tls routes as their texts say, with openssl as client and server: no Envoy is on the way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.chance import binomial
from tests.support.lab import PROBE, Lab

TIMES = 200
NAMES = ("one", "two")

HEAD = """
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: mongo}
spec: {selector: {app: server}, ports: [{name: tcp-mongo, port: 27017, targetPort: 7001}]}
---
apiVersion: v1
kind: Service
metadata: {name: backup}
spec: {selector: {app: server, version: two}, ports: [{name: tcp, port: 5555, targetPort: 7001}]}
---
apiVersion: v1
kind: Service
metadata: {name: secure}
spec: {selector: {app: server}, ports: [{name: tls-web, port: 443, targetPort: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {containers: [{name: c, command: [/bin/sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: stranger}}
spec: {containers: [{name: c, command: [/bin/sleep, infinity]}]}
"""
SERVER = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: server, version: {name}}}}}
spec:
  containers:
  - name: talk
    command: [/usr/bin/python3, {probe}, serve, "7001"]
    readinessProbe: {{tcpSocket: {{port: 7001}}, periodSeconds: 1, timeoutSeconds: 60}}
  - name: secure
    command: [/usr/bin/openssl, s_server, -quiet, -accept, "8443", -cert, {cert}, -key, {key}]
    readinessProbe: {{tcpSocket: {{port: 8443}}, periodSeconds: 1, timeoutSeconds: 60}}
"""
SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}}}
spec: {{host: {host}, subsets: [{{name: one, labels: {{version: one}}}}, {{name: two, labels: {{version: two}}}}]}}
---
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("l4-routes")
    parts = [HEAD]
    for name in NAMES:
        cert, key = place / f"{name}.crt", place / f"{name}.key"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}"]
        subprocess.run([*make, *files], check=True, capture_output=True)
        parts.append(SERVER.format(name=name, probe=PROBE, cert=cert, key=key))
    manifest = place / "lab.yaml"
    manifest.write_text("".join(parts))
    lab = Lab("l4routes")
    lab.up(manifest)
    yield lab
    lab.down(content=True)


def apply(lab: Lab, spec: str, host: str = "mongo", hosts: str = "") -> None:
    """The VirtualService of a host, for everything that follows."""
    lab.apply(
        f"{SUBSETS.format(host=host)}apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\n"
        f"metadata: {{name: {host}}}\nspec:\n  hosts: [{hosts or host}]\n{spec}"
    )


def answered(
    lab: Lab, client: str = "client", host: str = "mongo", port: int = 27017, times: int = TIMES
) -> dict[str, int]:
    """Which pods answered how many of so many connections."""
    names = {row["ip"]: row["name"] for row in lab.pods().values()}
    found = lab.probe(client, "spread", host, str(port), "--count", str(times))["answered"]
    return {names[address]: count for address, count in found.items()}


def met(lab: Lab, sni: str) -> str:
    """Whose certificate openssl is shown when it asks for a name ("" = none); "" if the handshake fails."""
    name = ["-servername", sni] if sni else ["-noservername"]
    done = lab.exec("client", "/usr/bin/openssl", "s_client", "-connect", "secure:443", *name, check=False)
    return next((n for n in NAMES if f"subject=CN = {n}" in done.stdout or f"subject=CN={n}" in done.stdout), "")


def test_tcp_traffic_to_a_port_is_routed_to_another_service(lab: Lab) -> None:
    """The document's TCPRoute: what arrives at mongo:27017 is forwarded to mongo.backup:5555."""
    apply(
        lab,
        "  tcp:\n  - match: [{port: 27017}]\n    route: [{destination: {host: backup, port: {number: 5555}}}]\n",
    )
    assert answered(lab, times=20) == {"two": 20}


def test_tcp_connections_are_divided_between_subsets(lab: Lab) -> None:
    ways = (
        "{destination: {host: mongo, subset: one}, weight: 80}, {destination: {host: mongo, subset: two}, weight: 20}"
    )
    apply(lab, f"  tcp:\n  - route: [{ways}]\n")
    found = answered(lab)
    assert found["one"] in binomial(TIMES, 0.8)
    assert sum(found.values()) == TIMES


@pytest.mark.api("L4MatchAttributes.sourceLabels")
def test_a_tcp_route_for_some_clients(lab: Lab) -> None:
    match = "[{sourceLabels: {app: stranger}}]"
    apply(lab, f"  tcp:\n  - match: {match}\n    route: [{{destination: {{host: mongo, subset: two}}}}]\n")
    assert answered(lab, "stranger", times=20) == {"two": 20}
    assert set(answered(lab)) == {"one", "two"}


@pytest.mark.api("L4MatchAttributes.destinationSubnets", "L4MatchAttributes.gateways")
def test_a_tcp_route_for_some_addresses_and_not_for_a_gateway(lab: Lab) -> None:
    """Services of the lab have addresses of 10.0.0.0/8."""
    apply(
        lab,
        "  gateways: [some-gateway, mesh]\n"
        "  tcp:\n"
        "  - match: [{gateways: [some-gateway]}, {destinationSubnets: [192.0.2.0/24]}]\n"
        "    route: [{destination: {host: mongo, subset: one}}]\n"
        "  - match: [{gateways: [mesh], destinationSubnets: [10.0.0.0/8]}]\n"
        "    route: [{destination: {host: mongo, subset: two}}]\n",
    )
    assert answered(lab, times=20) == {"two": 20}


@pytest.mark.api("TLSMatchAttributes.destinationSubnets", "TLSMatchAttributes.sourceLabels")
def test_a_tls_route_for_some_addresses_and_clients(lab: Lab) -> None:
    other = "{sniHosts: [one.example.com], sourceLabels: {app: stranger}}"
    away = "{sniHosts: [one.example.com], destinationSubnets: [192.0.2.0/24]}"
    subnets = "[10.0.0.0/8, 'fd00::/8']"  # openssl dials either
    here = f"{{sniHosts: [one.example.com], destinationSubnets: {subnets}, sourceLabels: {{app: client}}}}"
    apply(
        lab,
        "  tls:\n"
        f"  - match: [{other}, {away}]\n    route: [{{destination: {{host: secure, subset: one}}}}]\n"
        f"  - match: [{here}]\n    route: [{{destination: {{host: secure, subset: two}}}}]\n",
        host="secure",
        hosts="secure, one.example.com",
    )
    assert met(lab, "one.example.com") == "two"


def test_tls_traffic_is_routed_by_the_name_that_the_client_asks_for(lab: Lab) -> None:
    """The document's TLSRoute: one name here, the other one there; no name and other names nowhere."""
    apply(
        lab,
        "  tls:\n"
        "  - match: [{port: 443, sniHosts: [one.example.com]}]\n"
        "    route: [{destination: {host: secure, subset: one}}]\n"
        '  - match: [{port: 443, sniHosts: ["*.two.example.com", two.example.com]}]\n'
        "    route: [{destination: {host: secure, subset: two}}]\n",
        host="secure",
        hosts='secure, one.example.com, two.example.com, "*.two.example.com"',
    )
    for _ in range(3):
        assert met(lab, "one.example.com") == "one"
        assert met(lab, "two.example.com") == "two"
        assert met(lab, "a.two.example.com") == "two"
    assert met(lab, "three.example.com") == ""
    assert met(lab, "") == ""
    told = lab.tidegate(
        *("explain", "default/client", "secure:443", "--sni", "a.two.example.com", "-o", "json"),
        *("--run-dir", lab.node_dirs()[0]),
    )
    answer = json.loads(told.stdout)
    assert (answer["tier"], answer["rule"]["routes"], answer["rule"]["index"]) == ("fastpath", "tls", 1)
    assert [e["pod"] for e in answer["endpoints"]] == ["default/two"]
    assert lab.metric("istio_tcp_connections_opened_total", destination_service="secure.default.svc.cluster.local") > 0


def test_the_last_good_version_of_a_broken_route_goes_on_routing(lab: Lab) -> None:
    apply(lab, "  tcp:\n  - route: [{destination: {host: backup}}]\n")
    broken = lab.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: mongo}\n"
        "spec:\n  hosts: [mongo]\n"
        "  tcp: [{match: [{destinationSubnets: [nowhere]}], route: [{destination: {host: mongo}}]}]\n",
        check=False,
    )
    assert "no IP address and no prefix" in broken.stdout + broken.stderr
    assert answered(lab, times=20) == {"two": 20}
