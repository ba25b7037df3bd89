"""Names: a pod's questions are answered by its node, the rest by its own resolver, and with the node's DNS away all of
them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab

NOBODY = "192.0.2.53"  # TEST-NET-1: nobody is there, and nobody says so
VIP, VIP6 = "10.96.77.10", "fd00:96::77:10"
MESH = f"""
apiVersion: v1
kind: Service
metadata: {{name: named, namespace: default}}
spec:
  clusterIP: {VIP}
  clusterIPs: [{VIP}, "{VIP6}"]
  ports: [{{name: http, port: 80, targetPort: 8080}}]
  selector: {{app: web}}
---
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: default}}
spec:
  clusterIP: None
  ports: [{{name: sql, port: 5432}}]
  selector: {{app: db}}
---
apiVersion: v1
kind: Pod
metadata: {{name: db-0, labels: {{app: db}}}}
spec:
  hostname: db-0
  subdomain: db
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, command: [sleep, infinity]}}]
"""
# What a stub resolver does, told by its exit: the answer's texts, or "silent". Standard library only: it runs in pods.
ASK = """
import socket, sys
name, kind, server, tcp, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "tcp", float(sys.argv[5])
asked = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + bytes([0, 0, kind, 0, 1])
message = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + asked
family = socket.AF_INET6 if ":" in server else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
sock.settimeout(seconds)
try:
    sock.connect((server, 53))
    sock.sendall(len(message).to_bytes(2, "big") + message if tcp else message)
    answer = sock.recv(4096)
except OSError as error:
    print("silent", error)
    sys.exit()
answer = answer[2:] if tcp else answer
code, count, found, at = answer[3] & 15, int.from_bytes(answer[6:8], "big"), [], 12 + len(asked)
def skip(at):
    while answer[at]:
        if answer[at] >= 192:
            return at + 2
        at += answer[at] + 1
    return at + 1
for _ in range(count):
    at = skip(at)
    of, length, at = answer[at + 1], int.from_bytes(answer[at + 8:at + 10], "big"), at + 10
    content = answer[at:at + length]
    if of in (1, 28):
        found.append(socket.inet_ntop(socket.AF_INET if of == 1 else socket.AF_INET6, content))
    elif of == 33:
        found.append("port %d" % int.from_bytes(content[4:6], "big"))
    at += length
print("code", code, *sorted(found))
"""
SILENT_SECONDS = "1"  # how long one that nobody answers waits: what it waits for never comes


@pytest.fixture(scope="module")
def named(web_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    manifest = tmp_path_factory.mktemp("named") / "named.yaml"
    manifest.write_text(MESH)
    web_lab.apply(manifest)
    yield web_lab
    web_lab.delete(manifest)


def ask(lab: Lab, name: str, kind: int = 1, server: str = NOBODY, how: str = "udp", seconds: str = "60") -> str:
    """What a stub resolver in the client's pod hears; kind: number of the record's type."""
    return lab.exec("client", "python3", "-c", ASK, name, str(kind), server, how, seconds).stdout.strip()


@pytest.mark.parametrize("how", ["udp", "tcp"])
def test_names_of_the_mesh_are_answered_although_the_resolver_is_silent(named: Lab, how: str) -> None:
    host = "named.default.svc.cluster.local"
    assert ask(named, host, how=how) == f"code 0 {VIP}"
    assert ask(named, host, 28, how=how) == f"code 0 {VIP6}"
    assert ask(named, f"{host}.default.svc.cluster.local", how=how) == f"code 0 {VIP}", "with a search list appended"
    if how == "udp":
        assert ask(named, "www.example.com", how=how, seconds=SILENT_SECONDS).startswith("silent")


def test_servers_of_a_headless_service_have_names_and_ports(named: Lab) -> None:
    address = named.address("default/db-0", "4")
    assert ask(named, "db.default.svc.cluster.local") == f"code 0 {address}"
    assert ask(named, "db-0.db.default.svc.cluster.local") == f"code 0 {address}"
    assert ask(named, "_sql._tcp.db.default.svc.cluster.local", 33) == "code 0 port 5432"


def test_what_is_no_name_of_the_mesh_is_the_resolvers_to_answer(named: Lab) -> None:
    """The lab's DNS knows no such name; it is asked on the pod's behalf, and what it says comes back."""
    before = named.metric("tidegate_verdicts_total", reason="redirect_dns")
    handed_on = named.metric("tidegate_dns_questions_total", answer="handed_on")
    found = named.exec("client", "getent", "ahosts", "no-such-name.example.com", check=False)
    assert found.returncode == 2, found
    assert named.metric("tidegate_verdicts_total", reason="redirect_dns") > before
    eventually(lambda: named.metric("tidegate_dns_questions_total", answer="handed_on") > handed_on, "it is counted")


def test_programs_find_each_other_by_name(named: Lab) -> None:
    assert VIP in named.exec("client", "getent", "ahostsv4", "named").stdout
    assert named.exec("client", "curl", "-sf", "-o", "/dev/null", "http://named/").returncode == 0


def test_with_the_agent_away_questions_go_to_the_resolver_and_come_back_to_the_next_one(named: Lab) -> None:
    agent, dns = named.status()["agent"]["pid"], named.status()["dns"]["pid"]
    os.kill(agent, signal.SIGSTOP)
    try:
        eventually(
            lambda: ask(named, "named.default.svc.cluster.local", seconds=SILENT_SECONDS).startswith("silent"),
            "nobody answers for a resolver that is not there",
        )
        assert VIP in named.exec("client", "getent", "ahostsv4", "named").stdout, "the pod's own resolver does"
    finally:
        os.kill(agent, signal.SIGCONT)
    eventually(
        lambda: ask(named, "named.default.svc.cluster.local", seconds=SILENT_SECONDS) == f"code 0 {VIP}", "it is back"
    )
    assert Path(f"/proc/{dns}").exists(), "it was never gone"
