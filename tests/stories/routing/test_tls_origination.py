"""A pod speaks plain HTTP, the server sees TLS with the client's certificate: from a DestinationRule to the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.configs import service
from tests.support.eventually import eventually
from tests.support.lab import ROOT, Lab
from tests.support.tls_origin import Authority

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  containers:
  - name: c
    command: {command}
    ports: [{{containerPort: 8443, name: https}}]
{more}
"""
PROBE = "    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 0.2, failureThreshold: 100, timeoutSeconds: 60}"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}\n"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: secure, namespace: default}}
spec:
  host: secure
  trafficPolicy:
    tls:
      mode: MUTUAL
      clientCertificate: /etc/certs/{name}.pem
      privateKey: /etc/certs/{name}.key
      caCertificates: /etc/certs/ca.pem
"""

SELECTED = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: default}
spec:
  host: secure
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy:
    tls: {mode: MUTUAL, credentialName: mine}
    connectionPool: {http: {maxRequestsPerConnection: 1}}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its folder is what rules of namespace default may name."""
    made = Authority(tmp_path_factory.mktemp("origination") / "default" / "etc" / "certs")
    made.sign("server", "DNS:secure")
    made.sign("client")
    made.sign("next")
    return made


@pytest.fixture(scope="module")
def lab(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    files = [str(authority.folder / name) for name in ("server.pem", "server.key", "ca.pem")]
    server = ["/usr/bin/python3", str(ROOT / "tests/support/tls_server.py"), *files, "8443"]
    manifest = tmp_path_factory.mktemp("manifest") / "secure.yaml"
    parts = (
        NAMESPACE,
        service("secure", "http:80:8443"),
        POD.format(name="secure", command=json.dumps(server), more=PROBE),
        POD.format(name="client", command='["/bin/sleep", "infinity"]', more=""),
    )
    manifest.write_text("\n---\n".join(parts))
    lab = Lab("tls")
    lab.env["TIDEGATE_TLS_FILES"] = str(authority.folder.parents[2])
    lab.up(manifest)
    yield lab
    lab.down()


def ask(lab: Lab) -> tuple[int, dict[str, str]]:
    answer = lab.ask("client", "http://secure/")
    return answer["status"], answer["body"] if answer["status"] == 200 else {}


def test_a_rule_makes_plain_requests_mutual_tls(lab: Lab) -> None:
    assert ask(lab)[0] == 503, "the server speaks TLS only"
    lab.apply(RULE.format(name="client"))
    status, seen = ask(lab)
    assert (status, seen["client"], seen["host"]) == (200, "client", "secure")
    told = json.loads(lab.tidegate("explain", "default/client", "secure:80", "-o", "json").stdout)
    assert told["tls"] == "mutual"


def test_a_file_that_nobody_wrote_is_told_and_nothing_goes_out_in_plain_text(lab: Lab) -> None:
    lab.apply(RULE.format(name="nobody"), check=False)
    assert eventually(lambda: "nobody.pem" in json.dumps(lab.status()), "the status names it")
    assert ask(lab)[0] == 503
    lab.apply(RULE.format(name="client"))
    assert eventually(lambda: ask(lab)[0] == 200, "the rule that has its files")


def secret(authority: Authority, client: str) -> str:
    """Secret mine, with the certificate of a client."""
    files = {"tls.crt": f"{client}.pem", "tls.key": f"{client}.key", "ca.crt": "ca.pem"}
    data = {key: (authority.folder / file).read_text() for key, file in files.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": data})


def test_a_secret_of_the_pods_namespace_is_its_certificate(lab: Lab, authority: Authority) -> None:
    """Until it is there nothing goes out, and validation says what is missing; a new one is used as it comes."""
    told = lab.apply(SELECTED, check=False)
    assert "TG0582" in json.dumps(lab.status()), told
    assert ask(lab)[0] == 503
    lab.apply(secret(authority, "client"))
    assert eventually(lambda: ask(lab)[0] == 200, "the Secret is used")
    assert ask(lab)[1]["client"] == "client"
    lab.apply(secret(authority, "next"))
    assert eventually(lambda: ask(lab)[1].get("client") == "next", "so is the one in its place")
    status = json.dumps(lab.status())
    assert "TG0582" not in status
    assert "PRIVATE KEY" not in status + json.dumps(lab.tidegate("explain", "default/client", "secure:80").stdout)
