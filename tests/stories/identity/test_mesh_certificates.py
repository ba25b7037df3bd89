"""ISTIO_MUTUAL on the wire: openssl is the other side, and tells who it was that came."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import service
from tests.support.eventually import eventually
from tests.support.lab import Lab
from tests.support.mesh_origin import certified
from tests.support.mesh_pods import NAMESPACE, POD, PROBE, RULE, WEB, server

from tidegate.identity.authority import ROOT_CERTIFICATE, ROOT_KEY, open_authority

DOMAIN = "cluster.local"
EDGE = """
apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{app: edge}}
  ports: [{{name: http, port: 80, targetPort: 10080}}, {{name: tls, port: 443, targetPort: 10443}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: edge, namespace: default, labels: {{app: edge, sidecar.istio.io/inject: "false"}}}}
spec:
  serviceAccountName: edge
  containers:
  - name: gateway
    command: ["$(LAB_TIDEGATE)", "gateway", "--selector=app=edge"]
    args: ["--config=file:$(LAB_CLUSTER)", "--ca-dir=$(LAB_CA_DIR)", "--run-dir=$(LAB_POD_RUN)/g"]
    env:
    - {{name: POD_NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
    - {{name: SERVICE_ACCOUNT, valueFrom: {{fieldRef: {{fieldPath: spec.serviceAccountName}}}}}}
    ports: [{{containerPort: 15021}}]
    readinessProbe: {{httpGet: {{path: /healthz/ready, port: 15021}}, periodSeconds: 1, timeoutSeconds: 60}}
"""
AT_THE_EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: secure, port: {number: 80}}}]}]}
"""
SECONDS = 10  # that a certificate is good in this lab: renewed every five


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's authority, there before its nodes."""
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def lab(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    manifest = tmp_path_factory.mktemp("manifest") / "mesh.yaml"
    sleeps = '["/bin/sleep", "infinity"]'
    parts = (
        NAMESPACE,
        service("secure", "http:80:8443", "tcp:81:8443"),
        service("stranger", "http:80:8443"),
        server(folder, "secure", "secure")[0],
        server(folder, "stranger", "somebody")[0],
        EDGE.format(),
        service("inside", "http:80:8443", "tcp:81:8443"),
        POD.format(name="inside", account="inside", command=WEB, inject="true", more=PROBE),
        POD.format(name="outside", account="outside", command=sleeps, inject="false", more=""),
        *(POD.format(name=name, account=name, command=sleeps, inject="true", more="") for name in ("first", "second")),
    )
    manifest.write_text("\n---\n".join(parts))
    lab = Lab("identity")
    lab.env |= {"TIDEGATE_CA_DIR": str(folder), "TIDEGATE_CERTIFICATE_SECONDS": str(SECONDS)}
    lab.up(manifest)
    lab.apply(RULE.format(host="secure", more=""))
    lab.apply(RULE.format(host="stranger", more=""))
    yield lab
    lab.down()


def seen(lab: Lab, pod: str, url: str = "http://secure/") -> str:
    """What the server prints of the certificate that it was shown; empty if there was no answer."""
    done = lab.exec(pod, "/usr/bin/curl", "-sS", "--fail", "--max-time", "20", url, check=False)
    return done.stdout if done.returncode == 0 else ""


def name_in(page: str) -> str:
    """Its only name."""
    found: list[str] = re.findall(r"URI:(\S+)", page)
    return found[0] if len(found) == 1 else ""


def serial_in(page: str) -> str:
    found = re.search(r"Serial Number:\s*([0-9a-f:]+)", page)
    return found[1] if found else ""


@pytest.mark.parametrize("port", [80, 81])
def test_each_pod_is_who_its_service_account_is(lab: Lab, port: int) -> None:
    """HTTP, and connections that nobody looks into."""
    for pod in ("first", "second", "first"):
        page = eventually(lambda pod=pod: seen(lab, pod, f"http://secure:{port}/"), "the server answers")  # type: ignore[misc]
        assert name_in(page) == f"spiffe://{DOMAIN}/ns/default/sa/{pod}"
    told = json.loads(lab.tidegate("explain", "default/first", f"secure:{port}", "-o", "json").stdout)
    assert told["tls"] == "istio_mutual"


def test_a_server_that_is_somebody_else_gets_nothing(lab: Lab) -> None:
    """Its certificate is of the mesh, and not of who serves there; a rule may say that it is right so."""
    assert seen(lab, "first", "http://stranger/") == ""
    lab.apply(RULE.format(host="stranger", more=f", subjectAltNames: ['spiffe://{DOMAIN}/ns/default/sa/somebody']"))
    page = eventually(lambda: seen(lab, "first", "http://stranger/"), "the rule names it")
    assert name_in(page) == f"spiffe://{DOMAIN}/ns/default/sa/first"


def test_of_a_pod_in_the_mesh_the_mesh_ends_what_it_begins(lab: Lab) -> None:
    """Its application speaks plain HTTP; it is told who came, and who is not in the mesh still gets through."""
    lab.apply(RULE.format(host="inside", more=""))
    url = "http://inside/"
    answer = eventually(lambda: telling(lab, "first", url), "the pod takes mutual TLS")
    told = answer["headers"]["x-forwarded-client-cert"]
    assert told.endswith(f"URI=spiffe://{DOMAIN}/ns/default/sa/first"), told
    bytes_of = eventually(lambda: telling(lab, "second", "http://inside:81/"), "bytes get through as well")
    assert bytes_of["pod"] == "inside"
    address = lab.address("default/inside", "4")
    assert "x-forwarded-client-cert" not in telling(lab, "outside", f"http://{address}:8443/")["headers"]
    refused = refusal(lab, f"{address}:8443", "-alpn", "istio")
    assert "certificate required" in refused, "who begins it has to show one"


def test_a_gateway_is_a_workload_to_clients_and_to_servers(lab: Lab, folder: Path) -> None:
    lab.apply(AT_THE_EDGE)
    address = lab.address("default/edge", "4")
    page = eventually(lambda: seen(lab, "outside", f"http://{address}:10080/"), "it shows itself to the server")
    assert name_in(page) == f"spiffe://{DOMAIN}/ns/default/sa/edge"
    own = certified(open_authority(folder, DOMAIN, time.time()), "caller", lifetime=86_400)
    (folder / "caller.pem").write_bytes(own.chain + own.key)
    command = ["/usr/bin/curl", "-sSk", "--max-time", "20", "--cert", str(folder / "caller.pem")]

    def shown() -> str:
        return name_in(lab.exec("outside", *command, f"https://{address}:10443/", check=False).stdout)

    assert eventually(shown, "a client of the mesh gets through") == f"spiffe://{DOMAIN}/ns/default/sa/edge"
    assert "certificate required" in refusal(lab, f"{address}:10443"), "nobody else gets through"


def refusal(lab: Lab, server: str, *options: str) -> str:
    """What a client without a certificate is told. It sends nothing, or the server's reset might overtake its word."""
    command = ["/usr/bin/openssl", "s_client", *options, "-ign_eof", "-connect", server]
    done = lab.exec("outside", *command, stdin="", check=False)
    return done.stdout + done.stderr


def telling(lab: Lab, pod: str, url: str) -> dict[str, Any]:
    """What the web server tells of a request, nothing if there was no answer."""
    text = seen(lab, pod, url)
    return json.loads(text) if text else {}


def test_certificates_are_renewed_and_no_request_fails(lab: Lab) -> None:
    eventually(lambda: seen(lab, "first"), "the server answers")
    load = lab.load("second", "http://secure/")
    load.starts()
    serials: set[str] = set()

    def renewed() -> bool:
        serials.add(serial_in(seen(lab, "first")))
        return len(serials) > 2

    eventually(renewed, "two renewals")
    counted = load.stop()
    assert (counted["failed"], set(counted["statuses"])) == (0, {"200"}), counted


def test_no_key_is_told_or_readable(lab: Lab, folder: Path) -> None:
    eventually(lambda: seen(lab, "first"), "the server answers")
    assert stat.S_IMODE((folder / ROOT_KEY).stat().st_mode) == 0o600
    curl = ("lab", "node-exec", "node1", "--", "/usr/bin/curl", "-sS", "--fail", "--unix-socket")
    places = lab.node_dirs()  # the node's and the gateway's
    sockets = [socket for place in places for socket in (place / "agent.sock", *place.glob("**/admin.sock"))]
    dumps = [lab.tidegate(*curl, socket, "http://localhost/config_dump").stdout for socket in sockets]
    assert len(dumps) == 4
    assert any("identity://default/first" in dump for dump in dumps), "Envoy has it"
    for text in (*dumps, json.dumps(lab.status()), *(log.read_text() for log in lab.run_dir.glob("**/agent.log"))):
        assert "PRIVATE KEY" not in text
    assert (folder / ROOT_CERTIFICATE).exists()
