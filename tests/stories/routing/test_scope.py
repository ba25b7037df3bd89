"""What exists for a pod, on the wire: REGISTRY_ONLY, Sidecar, delegates."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.lab import MANIFESTS, Lab

NOBODY = "192.0.2.7"  # RFC 5737
STRICT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy:
      mode: REGISTRY_ONLY
"""
NARROW = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - hosts: [./*]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""
ROOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /cart}}]
    delegate: {name: cart, namespace: shop}
  - route: [{destination: {host: web}}]
"""
LEAF = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  http:
  - match: [{uri: {prefix: /cart/closed}}]
    directResponse: {status: 410}
  - route: [{destination: {host: cart, port: {number: 80}}}]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("scope")
    lab.up(MANIFESTS / "scope.yaml")
    yield lab
    lab.down(content=True)


@contextmanager
def applied(lab: Lab, tmp_path: Path, text: str) -> Iterator[None]:
    """These documents are in force meanwhile."""
    path = tmp_path / "applied.yaml"
    path.write_text(text)
    lab.apply(path)
    yield
    lab.delete(path)


def get(lab: Lab, client: str, url: str) -> tuple[int, str]:
    answer = lab.ask(client, url)
    body = answer["body"]
    return int(answer["status"]), str(body["version"]) if isinstance(body, dict) else ""


def test_registry_only_refuses_what_nobody_has_and_answers_502_at_ports_of_http(lab: Lab, tmp_path: Path) -> None:
    before = lab.metric("tidegate_verdicts_total", reason="deny_not_in_registry")
    with applied(lab, tmp_path, STRICT):
        assert lab.probe("client", "dial", NOBODY, "443")["errno"] == errno.ECONNREFUSED
        assert lab.metric("tidegate_verdicts_total", reason="deny_not_in_registry") == before + 1
        assert get(lab, "client", f"http://{NOBODY}/")[0] == 502
        assert get(lab, "client", "http://web/") == (200, "web")
        lab.dial("client", "db", 7000)
        told = lab.tidegate("explain", "default/client", f"{NOBODY}:80", check=False).stdout
        assert "502" in told
        assert "REGISTRY_ONLY" in told


def test_a_sidecar_hides_other_namespaces_from_its_pods_and_from_nobody_else(lab: Lab, tmp_path: Path) -> None:
    cart = "http://cart.shop/"
    assert get(lab, "client", cart) == (200, "cart")
    with applied(lab, tmp_path, NARROW):
        assert get(lab, "client", cart)[0] == 502
        assert lab.probe("client", "dial", "cart.shop", "7000")["errno"] == errno.ECONNREFUSED
        assert get(lab, "client", "http://web/") == (200, "web")
        lab.dial("client", "db", 7000)
        assert get(lab, "friend", cart) == (200, "cart")
    assert get(lab, "client", cart) == (200, "cart")


def test_a_route_is_left_to_the_virtual_service_of_another_namespace(lab: Lab, tmp_path: Path) -> None:
    with applied(lab, tmp_path, ROOT + "---" + LEAF):
        assert get(lab, "client", "http://web/cart") == (200, "cart")
        assert get(lab, "client", "http://web/cart/closed")[0] == 410
        assert get(lab, "client", "http://web/") == (200, "web")
        told = lab.tidegate("explain", "default/client", "web:80", "--path", "/cart").stdout
        assert "shop/cart" in told
