"""A lab's network: pods of two nodes reach each other over both families, and names mean what Kubernetes says."""

from __future__ import annotations

import json
import sys

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab

ONE4, ONE6, TWO4, TWO6 = "10.77.1.2", "fd77:0:0:1::2", "10.77.2.2", "fd77:0:0:2::2"
DNS4, DNS6 = "10.96.0.10", "fd77:96::a"

LOOKUP = """
import json, sys, dns.message, dns.query, dns.rcode
name, kind, server, transport = sys.argv[1:]
answer = getattr(dns.query, transport)(dns.message.make_query(name, kind), server, timeout=120)
records = sorted(str(item) for rrset in answer.answer for item in rrset)
json.dump([dns.rcode.to_text(answer.rcode()), records], sys.stdout)
"""


def lookup(lab: Lab, name: str, kind: str = "A", server: str = DNS4, transport: str = "udp") -> tuple[str, list[str]]:
    """Ask the cluster DNS from pod shop/two; the response code and the records."""
    done = lab.exec("two", sys.executable, "-c", LOOKUP, name, kind, server, transport, namespace="shop")
    code, records = json.loads(done.stdout)
    return code, records


def resolve(lab: Lab, name: str, pod: str, namespace: str) -> set[str]:
    """Addresses that the C library of a program in the pod finds."""
    done = lab.exec(pod, "getent", "ahosts", name, namespace=namespace, check=False)
    return {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("address", "family"), [(ONE4, "4"), (ONE4, "mapped"), (ONE6, "6"), (ONE6, "v6only")])
def test_pods_of_two_nodes_reach_each_other(plain_lab: Lab, address: str, family: str) -> None:
    seen = plain_lab.probe("two", "dial", address, "7001", "--family", family, namespace="shop")
    client = TWO6 if family in ("6", "v6only") else TWO4
    assert (seen["peer"], seen["sock"], seen["server"]["client"]) == (address, client, client)


def test_nodes_and_pods_reach_each_other(plain_lab: Lab) -> None:
    for node in ("node1", "node2"):
        done = plain_lab.tidegate("lab", "node-exec", node, "--", "ping", "-c1", "-W60", TWO4, check=False)
        if done.returncode == 127:  # no ping on this machine
            done = plain_lab.tidegate("lab", "node-exec", node, "--", "bash", "-c", f"exec 3<>/dev/tcp/{TWO4}/7001")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["talk.default", "talk.default.svc", "talk.default.svc.cluster.local", "talk.default.svc.cluster.local."]
)
def test_every_form_of_a_service_name(plain_lab: Lab, name: str) -> None:
    assert resolve(plain_lab, name, "two", "shop") == {ONE4, ONE6}


def test_a_short_name_is_of_the_own_namespace(plain_lab: Lab) -> None:
    assert resolve(plain_lab, "talk", "one", "default") == {ONE4, ONE6}
    assert resolve(plain_lab, "talk", "two", "shop") == set()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("server", [DNS4, DNS6])
def test_dns_over_both_families_and_both_transports(plain_lab: Lab, server: str, transport: str) -> None:
    answer = lookup(plain_lab, "talk.default.svc.cluster.local", "A", server, transport)
    assert answer == ("NOERROR", [ONE4])


def test_headless_external_and_reverse_names(plain_lab: Lab) -> None:
    assert lookup(plain_lab, "talk-headless.default.svc.cluster.local") == ("NOERROR", [ONE4])
    assert lookup(plain_lab, "first.talk-headless.default.svc.cluster.local", "AAAA") == ("NOERROR", [ONE6])
    code, records = lookup(plain_lab, "alias.shop.svc.cluster.local")
    assert (code, records) == ("NOERROR", [ONE4, "talk.default.svc.cluster.local."])
    reverse = lookup(plain_lab, "2.1.77.10.in-addr.arpa", "PTR")
    assert reverse == ("NOERROR", ["first.talk-headless.default.svc.cluster.local."])


@pytest.mark.parametrize("name", ["absent.default.svc.cluster.local", "example.org"])
def test_names_that_do_not_exist(plain_lab: Lab, name: str) -> None:
    assert lookup(plain_lab, name) == ("NXDOMAIN", [])


def test_a_pod_that_is_not_ready_has_no_name(plain_lab: Lab) -> None:
    pod = """
apiVersion: v1
kind: Service
metadata: {name: moody}
spec: {selector: {app: moody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: moody, labels: {app: moody}}
spec:
  containers:
  - name: c
    command: [sh, -c, "touch $MOOD; exec sleep infinity"]
    env: [{name: MOOD, value: "$(LAB_MANIFEST_DIR)/mood"}]
    readinessProbe:
      {exec: {command: [test, -e, "$(MOOD)"]}, periodSeconds: 0.1, timeoutSeconds: 60, failureThreshold: 1}
"""
    name = "moody.default.svc.cluster.local"
    plain_lab.apply(pod)
    assert len(lookup(plain_lab, name)[1]) == 1
    (plain_lab.run_dir / "mood").unlink()
    eventually(lambda: lookup(plain_lab, name) == ("NOERROR", []), "a name without a ready pod is empty")
    plain_lab.delete(plain_lab.run_dir / "applied-by-test.yaml")
    assert lookup(plain_lab, name) == ("NXDOMAIN", [])
