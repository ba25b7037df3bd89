"""`tidegate ca` for two nodes: pods of one show themselves to pods of the other, while the authority is away, and while
its root changes. Certificates are good for seconds here, so that what takes days elsewhere comes by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import service
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import ROOT, TIDEGATE, Lab
from tests.support.mesh_origin import mesh_authority
from tests.support.revoking import revoking

from tidegate.identity.authority import ROOT_CERTIFICATE
from tidegate.identity.chains import root_ids
from tidegate.identity.root_change import NEXT_CERTIFICATE, NEXT_KEY

DOMAIN, NEXT_DOMAIN = "cluster.local", "corp.example"
NODES = ("node1", "node2")
PORT = 15012
ADDRESS = f"172.30.0.1:{PORT}"  # node1's, in the network between nodes
SECONDS = 60  # that a certificate is good: renewed after 30
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  serviceAccountName: {name}
  containers:
  - name: c
    command: ["/usr/bin/python3", "{web}", "8443"]
    ports: [{{containerPort: 8443, name: https}}]
    readinessProbe: {{tcpSocket: {{port: 8443}}, periodSeconds: 0.2, failureThreshold: 100, timeoutSeconds: 60}}
"""
TRUST = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    trustDomain: {domain}
    trustDomainAliases: [{alias}]
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: default}}
spec:
  host: {host}
  trafficPolicy:
    tls: {{mode: ISTIO_MUTUAL}}
    connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}
"""
PODS = {"north": "node1", "south": "node2", "early": "node1", "late": "node2"}
SERVED = ("north", "south")


class AuthorityProcess:
    """`tidegate ca` on node1, as long as the test wants."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def run_dir(self) -> Path:
        return self.folder / "state"

    def start(self, *options: str) -> None:
        own: list[str | Path] = ["--listen", f"0.0.0.0:{PORT}", "--name", "172.30.0.1", "--ca-dir", self.folder / "ca"]
        own += ["--trust-domain", DOMAIN, "--trust-domain", NEXT_DOMAIN]
        own += ["--callers", self.folder / "callers.toml", "--state-dir", self.run_dir, *options]
        with self.log.open("ab") as log:
            command = [*self.lab.program, "lab", "node-exec", "node1", "--", TIDEGATE, "ca", *own]
            self._process = subprocess.Popen(command, env=self.lab.env, stdout=log, stderr=log)
        self.until_it_says("serving on")

    def until_it_says(self, text: str) -> None:
        eventually(lambda: text in self.log.read_text(), f"the authority says {text!r}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(HANG_SECONDS) == 0
            self._process = None
            self.log.rename(self.folder / f"log-{len(list(self.folder.glob('log*')))}")

    def answers(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        lines = [line for log in sorted(self.folder.glob("log*")) for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of both nodes, whom each may ask for, and the root: all that nodes have to be given."""
    folder = tmp_path_factory.mktemp("authority")
    mesh_authority(folder / "ca")
    (folder / "root.pem").write_bytes((folder / "ca" / ROOT_CERTIFICATE).read_bytes())
    (folder / "crl.pem").write_bytes(revoking(folder / "ca"))
    rows = []
    for node in NODES:
        word = f"the-word-of-{node}-that-nobody-guesses"
        (folder / f"{node}.token").write_text(word)
        may = json.dumps([f"default/{pod}" for pod, there in PODS.items() if there == node])
        digest = sha256(word.encode()).hexdigest()
        rows.append(f'[[caller]]\nname = "{node}"\ntoken_sha256 = "{digest}"\nmay = {may}\n')
    (folder / "callers.toml").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    manifest = tmp_path_factory.mktemp("manifest") / "mesh.yaml"
    web = ROOT / "tests/support/web.py"
    pods = [POD.format(name=name, node=node, web=web) for name, node in PODS.items()]
    manifest.write_text("\n---\n".join([NAMESPACE, *(service(name, "http:80:8443") for name in SERVED), *pods]))
    lab = Lab("authority")
    lab.env |= {
        "TIDEGATE_CA": ADDRESS,
        "TIDEGATE_CA_ROOT": str(folder / "root.pem"),
        "TIDEGATE_CA_TOKEN": f"{folder}/$(LAB_NODE).token",
        "TIDEGATE_CERTIFICATE_SECONDS": str(SECONDS),
        "TIDEGATE_CRL": str(folder / "crl.pem"),
    }
    lab.up(manifest, nodes=2)
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def authority(lab: Lab, folder: Path) -> Iterator[AuthorityProcess]:
    authority = AuthorityProcess(lab, folder)
    authority.start()
    yield authority
    authority.stop()


def shown(lab: Lab, pod: str, host: str) -> str:
    """Who a pod was to a server, as the server's side says; empty if there was no answer."""
    done = lab.exec(pod, "/usr/bin/curl", "-sS", "--fail", "--max-time", "20", f"http://{host}/", check=False)
    if done.returncode != 0:
        return ""
    told: str = json.loads(done.stdout)["headers"].get("x-forwarded-client-cert", "")
    return told.rpartition("URI=")[2]


def certs(lab: Lab, node: int) -> dict[str, dict[str, Any]]:
    """`tidegate certs` of a node, by service account."""
    done = lab.tidegate("certs", "-o", "json", "--run-dir", lab.node_dirs()[node], check=False)
    return {row["identity"].rpartition("/")[2]: row for row in json.loads(done.stdout)}


def identities(lab: Lab) -> set[str]:
    """Of all certificates of both nodes."""
    return {row["identity"] for number in range(len(NODES)) for row in certs(lab, number).values()}


def states(lab: Lab, node: int) -> dict[str, str]:
    """How it is with each certificate of a node."""
    return {account: row["state"] for account, row in certs(lab, node).items()}


def told_of(lab: Lab, account: str) -> str:
    """What the status of the first node says of an account."""
    troubles = lab.status(0)["certificates"]["troubles"]
    return next((one for one in troubles if one.startswith(spiffe(account))), "")


def spiffe(account: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/ns/default/sa/{account}"


def test_each_pod_has_a_certificate_before_a_rule_asks_for_it(lab: Lab, authority: AuthorityProcess) -> None:
    for number, node in enumerate(NODES):
        wanted = {pod: "good" for pod, there in PODS.items() if there == node}
        eventually(lambda number=number, wanted=wanted: states(lab, number) == wanted, f"all of {node} have one")  # type: ignore[misc]


def test_pods_of_both_nodes_know_each_other(lab: Lab, authority: AuthorityProcess) -> None:
    for host in SERVED:
        lab.apply(RULE.format(host=host))
    for pod, host in (("early", "south"), ("late", "north"), ("north", "south"), ("south", "north")):
        who = eventually(lambda pod=pod, host=host: shown(lab, pod, host), f"{pod} gets through to {host}")  # type: ignore[misc]
        assert who == spiffe(pod)


def test_each_node_asks_for_its_own_pods_and_each_answer_is_in_the_log(lab: Lab, authority: AuthorityProcess) -> None:
    eventually(lambda: len({one.get("identity") for one in authority.answers()}) >= len(PODS), "all have asked")
    asked = {(one["caller"], one["identity"]) for one in authority.answers()}
    assert asked == {(node, spiffe(pod)) for pod, node in PODS.items()}
    assert {one["outcome"] for one in authority.answers()} == {"issued"}
    text = "".join(log.read_text() for log in authority.folder.glob("log*"))
    assert "nobody-guesses" not in text
    assert "PRIVATE" not in text


def test_certs_say_whose_until_when_and_by_whom(lab: Lab, authority: AuthorityProcess) -> None:
    for number, node in enumerate(NODES):
        rows = certs(lab, number)
        assert rows.keys() == {pod for pod, there in PODS.items() if there == node}
        for account, row in rows.items():
            assert (row["node"], row["identity"], row["state"]) == (node, spiffe(account), "good")
            assert row["not_before"] < row["next_rotation"] < row["not_after"]
            assert (len(row["roots"]), row["issuer"]) == (1, mesh_authority(authority.folder / "ca").name)
            assert int(row["serial"], 16)
    table = lab.tidegate("certs").stdout
    assert spiffe("north") in table
    assert spiffe("south") in table


def test_an_authority_that_is_away_is_named_and_harms_nobody(lab: Lab, authority: AuthorityProcess) -> None:
    load = lab.load("late", "http://north/")
    load.starts()
    authority.stop()
    row = eventually(lambda: (row := certs(lab, 0)["north"])["state"] == "not renewed" and row, "it is to be renewed")
    assert f"the authority at {ADDRESS}: is away" in row["reason"]
    assert f"{spiffe('north')}: not renewed and good until {row['not_after']}" in told_of(lab, "north")
    text = lab.tidegate("metrics", "--run-dir", lab.node_dirs()[0]).stdout
    away = next(line for line in text.splitlines() if line.startswith("tidegate_ca_away_seconds "))
    assert float(away.split()[1]) > 0
    before = certs(lab, 0)["north"]["serial"]
    authority.start()
    eventually(lambda: certs(lab, 0)["north"]["state"] == "good", "it is renewed as soon as it can be")
    assert certs(lab, 0)["north"]["serial"] != before
    assert eventually(lambda: lab.status(0)["certificates"]["away_seconds"] == 0, "and nothing is said any more")
    counted = load.stop()
    assert (counted["failed"], set(counted["statuses"])) == (0, {"200"}), counted


def test_what_the_authority_says_of_itself(lab: Lab, authority: AuthorityProcess) -> None:
    done = lab.tidegate("status", "--run-dir", authority.run_dir, "-o", "json")
    (told,) = json.loads(done.stdout)["nodes"]
    assert told["authority"]["answers"]["issued"] > 0
    assert told["authority"]["roots"] == certs(lab, 0)["north"]["roots"]
    assert (
        f"signs   as {mesh_authority(authority.folder / 'ca').name}"
        in lab.tidegate("status", "--run-dir", authority.run_dir).stdout
    )
    assert (
        'tidegate_ca_answers_total{outcome="issued"}' in lab.tidegate("metrics", "--run-dir", authority.run_dir).stdout
    )


def test_another_trust_domain_comes_and_no_request_fails(lab: Lab, authority: AuthorityProcess) -> None:
    """First everybody believes names of it, then it is given out."""
    loads = [lab.load("late", "http://north/"), lab.load("early", "http://south/")]
    for one in loads:
        one.starts()
    for now, alias in ((DOMAIN, NEXT_DOMAIN), (NEXT_DOMAIN, DOMAIN)):
        lab.apply(TRUST.format(domain=now, alias=alias))
    eventually(lambda: identities(lab) == {spiffe(pod, NEXT_DOMAIN) for pod in PODS}, "it is given out everywhere")
    for pod, host in (("early", "south"), ("late", "north")):
        eventually(lambda pod=pod, host=host: shown(lab, pod, host) == spiffe(pod, NEXT_DOMAIN), "it is shown")  # type: ignore[misc]
    lab.apply(TRUST.format(domain=DOMAIN, alias=NEXT_DOMAIN))
    eventually(lambda: identities(lab) == {spiffe(pod) for pod in PODS}, "that of before is given out again")
    for one in loads:
        counted = one.stop()
        assert (counted["failed"], set(counted["statuses"])) == (0, {"200"}), counted


def test_another_root_comes_and_no_request_fails(lab: Lab, authority: AuthorityProcess) -> None:
    """First everybody believes the next root, then it signs, then nobody believes that of before."""
    ca = authority.folder / "ca"
    old, old_list = mesh_authority(ca), revoking(ca)
    authority.stop()
    authority.start("--most-seconds", "10")
    load = lab.load("late", "http://north/")
    back = lab.load("early", "http://south/")
    for one in (load, back):
        one.starts()

    def everywhere(field: str, value: object) -> bool:
        rows = [row for number in range(len(NODES)) for row in certs(lab, number).values()]
        return all(row[field] == value for row in rows)

    def step(name: str) -> str:
        return lab.tidegate("ca", "--change-root", name, "--ca-dir", ca).stdout

    assert "when every row of `tidegate certs` has it among ROOTS: --change-root switch" in step("prepare")
    new, new_list = mesh_authority(ca).roots, revoking(ca, by=(NEXT_CERTIFICATE, NEXT_KEY))
    put(authority.folder / "crl.pem", old_list + new_list)
    ids = root_ids(new)
    eventually(lambda: everywhere("roots", list(ids)), "both roots are believed everywhere")
    step("switch")
    eventually(lambda: everywhere("issuer", mesh_authority(ca).name), "the new one signs")
    step("finish")
    eventually(lambda: everywhere("roots", [ids[1]]), "nobody believes that of before")
    put(authority.folder / "crl.pem", new_list)
    assert ids[0] in root_ids(old.roots)
    for pod, host in (("early", "south"), ("late", "north")):
        assert shown(lab, pod, host) == spiffe(pod)
    for one in (load, back):
        counted = one.stop()
        assert (counted["failed"], set(counted["statuses"])) == (0, {"200"}), counted
    assert lab.status(0)["certificates"]["troubles"] == []


def put(file: Path, content: bytes) -> None:
    """All of it or nothing."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)
