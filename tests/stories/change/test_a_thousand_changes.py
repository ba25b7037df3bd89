"""500 requests and 100 new TCP connections a second from a pod, and TLS from outside through a gateway, while weights,
subsets, endpoints, gateways and certificates change a thousand times: nothing fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.eventually import HANG_SECONDS
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address

from tidegate_lab import control

CHANGES = 1000
STEADILY = ROOT / "tests" / "support" / "steadily.py"
INGRESS = ROOT / "samples" / "gateway" / "ingressgateway.yaml"
AUTHORITY = Authority()
ALL = ("v1", "v2", "v3")
ROUTE = "{{destination: {{{to}}}, weight: {weight}}}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("thousand")
    lab.up(MANIFESTS / "thousand.yaml", INGRESS)
    yield lab
    lab.down()


def test_nothing_fails_while_everything_changes_a_thousand_times(lab: Lab) -> None:
    address = external_address(lab, "istio-ingressgateway")
    ca = lab.run_dir / "ca.crt"
    ca.write_bytes(AUTHORITY.certificate)
    pods = {version: lab.address(f"default/web-{version}", "4") for version in ALL}
    before = documents(0, pods)
    apply(lab, before)
    web = ["web,web,80,web,kept,250", "listed,listed,80,listed,kept,150", "web anew,web,80,web,fresh,100"]
    inside: list[str | Path] = [
        *lab.program,
        "lab",
        "exec",
        "client",
        "--",
        "/usr/bin/python3",
        STEADILY,
        *web,
        "tcp,db,5432,db,fresh,100",
    ]
    paces = (("kept", 20), ("fresh", 10))
    edge = [f"edge {kind},{address},443,shop.example,{kind},{rate},{ca}" for kind, rate in paces]
    outside: list[str | Path] = [sys.executable, STEADILY, *edge]
    loads = [subprocess.Popen(command, env=lab.env, **PIPES) for command in (inside, outside)]
    try:
        for load in loads:
            assert load.stdout is not None
            assert load.stdout.readline() == "started\n"
        changed = 0
        for number in count(1):
            after = documents(number, pods)
            changed += sum(after[name] != before[name] for name in after)
            apply(lab, after)
            before = after
            if changed >= CHANGES:
                break
    finally:
        told = [load.communicate("", HANG_SECONDS)[0] for load in loads]
    found = {name: part for text in told for name, part in json.loads(text).items() if name != "seconds"}
    assert {name: (part["failed"], part["failures"]) for name, part in found.items()} == dict.fromkeys(found, (0, []))
    print(found, number)
    for name, part in found.items():
        assert part["answers"] > number, name
        assert part["versions"].keys() == set(ALL), "changes did something"
    assert found["edge fresh"]["certificates"] > 5
    check_last(lab, address, ca, number)


PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def check_last(lab: Lab, address: str, ca: Any, number: int) -> None:
    """What was said last is in force, and nobody refused anything."""
    assert lab.status()["envoy"]["xds"]["nacks"] == []
    assert curl(address, "https://shop.example/", "--cacert", ca).status == 200
    assert curl(address, f"https://late-{number}.example/", "--cacert", ca).status == 200
    assert curl(address, f"https://late-{number - 1}.example/", "--cacert", ca).status == 0


def apply(lab: Lab, texts: dict[str, str]) -> None:
    """As `tidegate lab apply`, without a process for each: returns when everything is in force, and nothing refused."""
    path = lab.run_dir / "thousand.yaml"
    path.write_text("\n---\n".join(texts.values()))
    request = {"do": "apply", "files": [str(path)], "timeout": HANG_SECONDS}
    control.call(lab.run_dir / "labd.sock", request, lambda _: None)


def documents(number: int, pods: dict[str, str]) -> dict[str, str]:
    """Everything as it is after so many rounds: each document is another one than in the round before."""
    names = [f"s{number % 4}", f"s{(number + 1) % 4}"]  # subsets come and go; one stays for a round
    chosen = [ALL[number % 3], ALL[(number + 1) % 3]]
    share = (number * 37) % 99 + 1
    listed = [pods[version] for position, version in enumerate(ALL) if position != number % 3]
    return {
        "weights": virtual_service("web", "http", [f"host: web, subset: {name}" for name in names], share),
        "subsets": destination_rule("web", names, chosen),
        "endpoints": endpoints("listed", "http", 8080, listed),
        "weights of tcp": virtual_service("db", "tcp", [f"host: more, subset: {names[0]}", "host: db"], share),
        "subsets of tcp": destination_rule("more", names, chosen),
        "endpoints of tcp": endpoints("db", "tcp", 8080, listed[::-1][: 1 + number % 2]),
        "gateway": gateway(
            "edge",
            server(443, "HTTPS", "shop.example", tls="mode: SIMPLE, credentialName: shop", name="shop"),
            server(443, "HTTPS", f"late-{number}.example", tls="mode: SIMPLE, credentialName: late", name="late"),
        ),
        "certificate": AUTHORITY.issue("shop.example").secret("shop"),
        "late certificate": AUTHORITY.issue(f"late-{number}.example").secret("late"),
        "weights at the edge": virtual_service(
            "edge", "http", [f"host: web, subset: {name}" for name in names], 100 - share, AT_THE_EDGE
        ),
        "rule of listed": virtual_service("listed", "http", ["host: listed"], 100, more=f"timeout: {number + 1}s, "),
        "policy of listed": LISTED.format(number=number + 1, simple=("RANDOM", "ROUND_ROBIN")[number % 2]),
    }


AT_THE_EDGE = '"*.example"], gateways: [istio-system/edge'
LISTED = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: listed}}
spec:
  host: listed
  trafficPolicy: {{loadBalancer: {{simple: {simple}}}, connectionPool: {{tcp: {{connectTimeout: {number}s}}}}}}
"""


def virtual_service(name: str, protocol: str, to: list[str], share: int, hosts: str = "", more: str = "") -> str:
    weighted = zip(to, (share, 100 - share), strict=False)
    routes = ", ".join(ROUTE.format(to=one, weight=weight) for one, weight in weighted)
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{hosts or name}], {protocol}: [{{{more}route: [{routes}]}}]}}
"""


def destination_rule(host: str, subsets: list[str], versions: list[str]) -> str:
    named = ", ".join(f"{{name: {s}, labels: {{version: {v}}}}}" for s, v in zip(subsets, versions, strict=True))
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}}}
spec: {{host: {host}, subsets: [{named}]}}
"""


def endpoints(service: str, port: str, number: int, addresses: list[str]) -> str:
    listed = ", ".join(f"{{addresses: [{address}], conditions: {{ready: true}}}}" for address in addresses)
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: {port}, port: {number}, protocol: TCP}}]
endpoints: [{listed}]
"""
