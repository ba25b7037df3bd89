"""Envoys that are not ours as gateways: servers whose certificates are files of the Envoy's own container."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.foreign_envoy import AGGREGATED, BOOTSTRAP, Place, place

ROUTER = "router~10.0.0.1~gw.edge~edge.svc.cluster.local"
LABELS = {"istio": "ingressgateway"}
WAYS = [(AGGREGATED, "GRPC"), (AGGREGATED, "DELTA_GRPC"), (BOOTSTRAP, "GRPC"), (BOOTSTRAP, "DELTA_GRPC")]
AUTHORITY = Authority()
DOCUMENTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [shop.example]
    tls: {{mode: SIMPLE, serverCertificate: {folder}/shop.crt, privateKey: {folder}/shop.key}}
  - port: {{number: 443, name: late, protocol: HTTPS}}
    hosts: [late.example]
    tls: {{mode: SIMPLE, serverCertificate: {folder}/late.crt, privateKey: {folder}/late.key}}
  - port: {{number: 8443, name: mutual, protocol: HTTPS}}
    hosts: [shop.example]
    tls:
      mode: MUTUAL
      serverCertificate: {folder}/shop.crt
      privateKey: {folder}/shop.key
      caCertificates: {folder}/ca.crt
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: edge}}
spec:
  hosts: [shop.example, late.example]
  gateways: [edge]
  http:
  - match: [{{uri: {{prefix: /web}}}}]
    route: [{{destination: {{host: web, port: {{number: 80}}}}}}]
  - directResponse: {{status: 204}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: edge}}
spec:
  clusterIP: 10.96.0.9
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: 8081}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: web-1, namespace: edge, labels: {{app: web}}}}
spec: {{containers: [{{name: c, ports: [{{containerPort: 8081}}]}}]}}
status: {{podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        yield made


def put(here: Place, name: str, subject: str, *more: str) -> None:
    """A certificate and its key in the gateway's folder, the key first, each moved into its place."""
    pair = AUTHORITY.issue(subject, *more)
    for end, pem in (("key", pair.key), ("crt", pair.certificate)):
        new = here.folder / f"{name}.new"
        new.write_bytes(pem)
        new.rename(here.folder / f"{name}.{end}")


def status(here: Place, url: str, *options: str) -> str:
    """The status of an answer through TLS; 000 if the connection was cut off."""
    port = url.rpartition(":")[2].partition("/")[0]
    name = url.partition("://")[2].partition(":")[0]
    where = ["--cacert", str(here.folder / "ca.crt"), "--resolve", f"{name}:{port}:127.0.0.1"]
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *where, *options, url]
    done = subprocess.run(["ip", "netns", "exec", here.pod.name, *command], check=False, capture_output=True, text=True)
    return done.stdout


def answers(here: Place, url: str, expected: str, *options: str) -> None:
    eventually(lambda: status(here, url, *options) == expected, f"{url} answers {expected}")


@pytest.mark.parametrize(("bootstrap", "dialect"), WAYS)
def test_a_gateway_ends_tls_by_its_own_files_and_by_those_that_replace_them(
    here: Place, bootstrap: str, dialect: str
) -> None:
    (here.folder / "ca.crt").write_bytes(AUTHORITY.certificate)
    put(here, "shop", "first", "shop.example")
    put(here, "client", "somebody")
    here.say(all=DOCUMENTS.format(folder=here.folder))
    here.serve()
    here.envoy(bootstrap, ROUTER, dialect, metadata={"LABELS": LABELS})
    answers(here, "https://shop.example:443/", "204")
    answers(here, "https://shop.example:443/web", "200")
    assert here.shown_certificate("127.0.0.1", 443, "shop.example") == "first"
    assert status(here, "https://late.example:443/") == "000", "nobody has its certificate yet"
    mine = ("--cert", str(here.folder / "client.crt"), "--key", str(here.folder / "client.key"))
    answers(here, "https://shop.example:8443/", "204", *mine)
    assert status(here, "https://shop.example:8443/") == "000", "who shows nothing is not served"
    put(here, "shop", "second", "shop.example")
    eventually(
        lambda: here.shown_certificate("127.0.0.1", 443, "shop.example") == "second", "the next certificate is shown"
    )
    put(here, "late", "late.example")
    answers(here, "https://late.example:443/", "204")
    assert status(here, "https://shop.example:443/") == "204"
