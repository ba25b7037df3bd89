"""A pod speaks plain TCP, the server sees mutual TLS: DestinationRules of ports that are not HTTP, on the wire."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.configs import service
from tests.support.eventually import eventually
from tests.support.lab import ROOT, Lab
from tests.support.tls_origin import Authority

LINES = str(ROOT / "tests/support/lines.py")
DOCUMENTS = ROOT / "tests/acceptance/documents"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  containers:
  - name: c
    command: {command}
    ports: [{{containerPort: 7000}}]
{more}
"""
PROBE = "    readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 0.2, failureThreshold: 100, timeoutSeconds: 60}"
RULE = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: db-mtls, namespace: default}}
spec:
  host: db
  {selector}
  trafficPolicy:
    tls:
      mode: MUTUAL
      clientCertificate: /etc/certs/myclientcert.pem
      privateKey: /etc/certs/client_private_key.pem
      caCertificates: /etc/certs/rootcacerts.pem
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its folder is what rules of namespace default may name; files are called as in the documents."""
    made = Authority(tmp_path_factory.mktemp("carried") / "default" / "etc" / "certs")
    made.sign("server")
    made.sign("client")
    copies = {"myclientcert.pem": "client.pem", "client_private_key.pem": "client.key", "rootcacerts.pem": "ca.pem"}
    for name, source in copies.items():
        (made.folder / name).write_bytes((made.folder / source).read_bytes())
    return made


@pytest.fixture(scope="module")
def lab(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cert, key, ca = (str(authority.folder / name) for name in ("server.pem", "server.key", "ca.pem"))
    verified = ["-CAfile", ca, "-Verify", "1", "-verify_return_error"]
    openssl = [
        "/usr/bin/openssl",
        "s_server",
        "-quiet",
        "-rev",
        "-accept",
        "7000",
        "-cert",
        cert,
        "-key",
        key,
        *verified,
    ]
    lines = ["/usr/bin/python3", LINES, "serve", "7000", cert, key, ca]
    manifest = tmp_path_factory.mktemp("manifest") / "carried.yaml"
    parts = (
        NAMESPACE,
        service("db", "tcp:5432:7000"),
        POD.format(name="mongo", command=json.dumps(openssl), more=PROBE),
        POD.format(name="db", command=json.dumps(lines), more=PROBE),
        POD.format(name="client", command='["/bin/sleep", "infinity"]', more=""),
        POD.format(name="other", command='["/bin/sleep", "infinity"]', more=""),
    )
    manifest.write_text("\n---\n".join(parts))
    lab = Lab("carried")
    lab.env["TIDEGATE_TLS_FILES"] = str(authority.folder.parents[2])
    lab.up(manifest)
    yield lab
    lab.down()


def explained(lab: Lab, pod: str, target: str) -> dict[str, object]:
    told: dict[str, object] = json.loads(
        lab.tidegate("explain", f"default/{pod}", target, "-o", "json", check=False).stdout
    )
    return told


class Talk:
    """A connection of a pod to a server of lines."""

    def __init__(self, lab: Lab, pod: str, host: str, port: int) -> None:
        command = ["lab", "exec", "-n", "default", pod, "--", "/usr/bin/python3", LINES, "talk", host, str(port)]
        self._process = subprocess.Popen(
            [ROOT / ".venv/bin/tidegate", *command],
            env=lab.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.greeting = self._line()

    def say(self, word: str) -> str:
        """What the server says to a line."""
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._line()

    def end(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def knock(lab: Lab, pod: str) -> str:
    """The first line of the database for a pod that speaks plain text, or `end`."""
    return lab.exec(pod, "/usr/bin/python3", LINES, "knock", "db", "5432").stdout.strip()


def reversed_by_openssl(lab: Lab, address: str) -> str:
    """What `openssl s_server -rev` makes of a word that a pod sends in plain text."""
    program = "import socket,sys;s=socket.create_connection(sys.argv[1:]);s.sendall(b'mesh\\n');print(s.recv(99))"
    done = lab.exec("client", "/usr/bin/python3", "-c", program, address, "27018", check=False)
    return done.stdout.strip()


def test_the_documents_mongo_cluster_is_spoken_to_in_mutual_tls(lab: Lab) -> None:
    server = lab.address("default/mongo", "4")
    entry = (DOCUMENTS / "32-serviceentry-external-svc-mongocluster.yaml").read_text()
    endpoints = f"  - address: {server}\n    ports: {{mongodb: 7000}}\n"
    lab.apply(entry.partition("  - address: 2.2.2.2")[0] + endpoints)
    assert "hsem" not in reversed_by_openssl(lab, "192.192.192.7"), "the server speaks TLS only"
    lab.apply(DOCUMENTS / "33-destinationrule-mtls-mongocluster.yaml")
    assert "hsem" in reversed_by_openssl(lab, "192.192.192.7")
    assert "hsem" in reversed_by_openssl(lab, "::ffff:192.192.192.7")
    told = explained(lab, "client", "192.192.192.7:27018")
    assert (told["tier"], told["tls"]) == ("envoy", "mutual")
    policies: list[dict[str, object]] = told["policies"]  # type: ignore[assignment]
    assert [(p["name"], bool(p["file"])) for p in policies] == [("mtls-mongocluster", True)]


def test_a_server_that_speaks_first_sees_the_pod_and_its_certificate(lab: Lab) -> None:
    lab.apply(RULE.format(selector=""))
    talk = Talk(lab, "client", "db", 5432)
    assert json.loads(talk.greeting) == {
        "client": lab.address("default/client", "4"),
        "certificate": "client",
        "name": "db.default.svc.cluster.local",
    }
    assert talk.say("still here") == "still here"
    before = counted(lab)
    talk.end()
    eventually(lambda: counted(lab)["closed"] > before["closed"], "its end is counted")
    after = counted(lab)
    assert after["opened"] == after["closed"]
    assert after["received_bytes"] >= len("still here\n")
    assert after["sent_bytes"] > after["received_bytes"], "the greeting as well"


def counted(lab: Lab) -> dict[str, float]:
    """What Istio's metrics say of the client's connections to the database."""
    wanted = (
        'source_workload="client"',
        'source_workload_namespace="default"',
        'destination_workload="db"',
        'destination_service="db.default.svc.cluster.local"',
    )
    names = ("connections_opened", "connections_closed", "received_bytes", "sent_bytes")
    out = dict.fromkeys((name.removeprefix("connections_") for name in names), 0.0)
    for line in lab.tidegate("metrics", "--run-dir", lab.node_dirs()[0]).stdout.splitlines():
        for name in names:
            if line.startswith(f"istio_tcp_{name}_total{{") and all(part in line for part in wanted):
                out[name.removeprefix("connections_")] += float(line.rpartition(" ")[2])
    return out


def test_a_rule_for_some_pods_leaves_others_with_the_relay(lab: Lab) -> None:
    lab.apply(RULE.format(selector="workloadSelector: {matchLabels: {app: client}}"))
    assert [explained(lab, pod, "db:5432")["tier"] for pod in ("client", "other")] == ["envoy", "fastpath"]
    assert json.loads(knock(lab, "client"))["certificate"] == "client"
    assert knock(lab, "other") == "end", "plain text, which this server does not speak"


def test_without_the_rule_the_relay_has_the_port_and_connections_go_on(lab: Lab, tmp_path: Path) -> None:
    rule = tmp_path / "rule.yaml"
    rule.write_text(RULE.format(selector=""))
    lab.apply(rule)
    talk = Talk(lab, "client", "db", 5432)
    assert json.loads(talk.greeting)["certificate"] == "client"
    lab.delete(rule)
    eventually(lambda: explained(lab, "client", "db:5432")["tier"] == "fastpath", "the relay has the port")
    assert knock(lab, "client") == "end", "plain text, which this server does not speak"
    assert talk.say("still here") == "still here"
    talk.end()
