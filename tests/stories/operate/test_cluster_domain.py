"""A cluster whose domain is not cluster.local: pods resolve its names, rules written for them rule."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.lab import MANIFESTS, Lab

DOMAIN = "prod.example"
FULL = f"web.default.svc.{DOMAIN}"
TO_V2 = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: web }}
spec: {{ host: {FULL}, subsets: [{{ name: v2, labels: {{ version: v2 }} }}] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: web }}
spec: {{ hosts: [{FULL}], http: [{{ route: [{{ destination: {{ host: {FULL}, subset: v2 }} }}] }}] }}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("domain")
    lab.up(MANIFESTS / "web.yaml", domain=DOMAIN)
    yield lab
    lab.down(content=True)


@pytest.mark.parametrize("name", ["web", "web.default", "web.default.svc", FULL])
def test_every_form_of_a_name_leads_through_the_mesh(lab: Lab, name: str) -> None:
    assert lab.ask("client", f"http://{name}/")["status"] == 200
    told = json.loads(lab.tidegate("explain", "default/client", f"{name}:80", "-o", "json").stdout)
    assert (told["tier"], told["service"]) == ("envoy", FULL)


def test_rules_for_full_names_are_in_force(lab: Lab) -> None:
    lab.apply(TO_V2)
    try:
        assert set(lab.ask("client", "http://web/", "--count", "20", "--fresh")["versions"]) == {"v2"}
    finally:
        lab.delete(lab.run_dir / "applied-by-test.yaml")


def test_the_identity_is_of_that_trust_domain(lab: Lab) -> None:
    assert lab.pods()["default/client"]["identity"] == f"spiffe://{DOMAIN}/ns/default/sa/default"


def test_names_of_another_cluster_are_nobodys(lab: Lab) -> None:
    asked = ("/usr/bin/getent", "hosts", "web.default.svc.cluster.local.")
    assert lab.exec("client", *asked, check=False).returncode == 2


def test_a_running_lab_keeps_its_domain(lab: Lab) -> None:
    refused = lab.tidegate("lab", "up", "--cluster-domain", "other.example", check=False)
    assert refused.returncode != 0
    assert f"is running with 1 nodes, mesh on, {DOMAIN}" in refused.stderr
