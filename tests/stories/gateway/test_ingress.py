"""The way into the mesh: curl on this machine, a gateway in a pod, services behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import Authority, secret
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address

INGRESS = ROOT / "samples" / "gateway" / "ingressgateway.yaml"
AUTHORITY = Authority()
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{hosts}]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {{prefix: /v2}}}}]
    route: [{{destination: {{host: web, subset: v2}}}}]
  - route: [{{destination: {{host: web, subset: v1}}}}]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("ingress")
    lab.up(MANIFESTS / "web.yaml", INGRESS)
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def address(lab: Lab) -> str:
    return external_address(lab, "istio-ingressgateway")


@pytest.fixture
def apply(lab: Lab) -> Iterator[object]:
    """Apply documents; removed afterwards."""
    yield lambda *texts: lab.apply("\n---\n".join(texts))
    lab.delete(lab.run_dir / "applied-by-test.yaml")


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(AUTHORITY.certificate)
    return path


def rule(hosts: str, name: str = "edge") -> str:
    return RULE.format(hosts=hosts, name=name)


def test_a_request_from_outside_reaches_the_service_that_the_rule_names(lab: Lab, address: str, apply) -> None:  # type: ignore[no-untyped-def]
    assert curl(address, "http://shop.example/").status == 0, "no Gateway, no port"
    apply(gateway("edge", server(80, "HTTP", "shop.example")), rule("shop.example"))
    assert curl(address, "http://shop.example/").json["version"] == "v1"
    assert curl(address, "http://shop.example/v2").json["version"] == "v2"
    assert curl(address, "http://other.example/").status == 404
    assert curl(address, "http://shop.example/", "--http2-prior-knowledge").version == "2"
