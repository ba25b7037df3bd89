"""Services whose endpoints somebody wrote down, of which nobody knows any, and of which none is ready."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import PROBE, Lab

PORT = 7019  # of a server on the node, which is no pod
NODE = ("lab", "node-exec", "node1", "--")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec:
  {selector}
  ports: [{{ name: tcp, port: {port} }}, {{ name: dns, port: {port}, protocol: UDP }}]
"""
SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: {name}-{family}, labels: {{ kubernetes.io/service-name: {name} }} }}
addressType: {family}
ports: [{{ name: tcp, port: {port} }}]
endpoints: [{{ addresses: ["{address}"], conditions: {{ ready: {ready} }} }}]
"""
# How a connect() ends: at once if the socket waits, else in SO_ERROR; and what UDP does.
CONNECT = """
import errno, json, select, socket, sys
host, port, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
address = socket.getaddrinfo(host, port, socket.AF_INET)[0][4]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM)
sock.setblocking(how != "nonblocking")
error = sock.connect_ex(address)
if error == errno.EINPROGRESS:
    select.select([], [sock], [])
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
print(json.dumps(errno.errorcode.get(error, "connected")))
"""


@pytest.fixture(scope="module")
def outside(probe_lab: Lab) -> Iterator[dict[str, str]]:
    """Addresses, by family, of a server on the node itself."""
    links = json.loads(probe_lab.tidegate(*NODE, "ip", "-j", "addr", "show").stdout)
    found = {a["family"]: a["local"] for link in links for a in link["addr_info"] if a["scope"] == "global"}
    with probe_lab.start_on_node("node1", "/usr/bin/python3", PROBE, "serve", str(PORT)) as server:
        listening: list[str | Path] = [*NODE, "/usr/bin/python3", PROBE, "dial", "127.0.0.1", str(PORT)]
        eventually(lambda: "error" not in json.loads(probe_lab.tidegate(*listening).stdout), "it listens")
        yield {"IPv4": found["inet"], "IPv6": found["inet6"]}
        server.terminate()


@pytest.fixture
def apply(probe_lab: Lab) -> Iterator[object]:
    yield probe_lab.apply
    probe_lab.delete(probe_lab.run_dir / "applied-by-test.yaml")


def written(name: str, outside: dict[str, str], ready: str = "true") -> str:
    slices = (SLICE.format(name=name, family=f, address=a, port=PORT, ready=ready) for f, a in outside.items())
    return SERVICE.format(name=name, selector="", port=7000) + "".join(slices)


def ended(lab: Lab, host: str, port: int, how: str = "blocking") -> str:
    """How a connect() of the client pod ended."""
    done = lab.exec("client", "/usr/bin/python3", "-c", CONNECT, host, str(port), how)
    return str(json.loads(done.stdout))


@pytest.mark.case("D3")
@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.usefixtures("apply")
def test_a_database_outside_of_the_cluster_is_reached_by_its_service(
    probe_lab: Lab, outside: dict[str, str], family: str
) -> None:
    probe_lab.apply(written("db", outside))
    seen = probe_lab.dial("client", "db", 7000, family)
    assert seen["server"]["client"] == probe_lab.address("default/client", family), "the server sees the client pod"
    assert seen["server"]["local"] == outside["IPv4" if family == "4" else "IPv6"]
    assert (seen["peer"], seen["peer_port"]) == (seen["dialled"], 7000)


@pytest.mark.case("D3")
@pytest.mark.usefixtures("apply", "outside")
def test_a_virtual_address_of_which_nothing_is_known_is_left_to_who_knows_it(probe_lab: Lab) -> None:
    """The lab has no kube-proxy; here the node has the virtual address itself, and so stands for one."""
    probe_lab.apply(SERVICE.format(name="foreign", selector="", port=PORT))
    rows = json.loads(probe_lab.tidegate("services", "-o", "json", "--run-dir", probe_lab.node_dirs()[0]).stdout)
    assert not [row for row in rows if row["service"].startswith("foreign.")]
    vip = probe_lab.exec("client", "getent", "ahostsv4", "foreign").stdout.split()[0]
    probe_lab.tidegate(*NODE, "ip", "address", "add", f"{vip}/32", "dev", "lo")
    try:
        before = probe_lab.metric("tidegate_verdicts_total", reason="pass_unknown")
        seen = probe_lab.dial("client", "foreign", PORT)
        assert (seen["peer"], seen["server"]["local"]) == (vip, vip)
        assert probe_lab.metric("tidegate_verdicts_total", reason="pass_unknown") == before + 1
    finally:
        probe_lab.tidegate(*NODE, "ip", "address", "delete", f"{vip}/32", "dev", "lo")


@pytest.mark.case("B3")
@pytest.mark.usefixtures("apply")
def test_nobody_is_ready_so_connect_is_refused_and_udp_is_not_our_business(
    probe_lab: Lab, outside: dict[str, str]
) -> None:
    none = "---" + SERVICE.format(name="none", selector="selector: { app: nobody }", port=7000)
    probe_lab.apply(written("db", outside, ready="false") + none)
    before = probe_lab.metric("tidegate_verdicts_total", reason="deny_no_endpoint")
    for host in ("db", "none"):
        assert ended(probe_lab, host, 7000) == "ECONNREFUSED"
        assert ended(probe_lab, host, 7000, "nonblocking") == "ECONNREFUSED"
        assert ended(probe_lab, host, 7000, "udp") == "connected"
    assert probe_lab.metric("tidegate_verdicts_total", reason="deny_no_endpoint") == before + 4
    told = json.loads(probe_lab.tidegate("explain", "default/client", "none:7000", "-o", "json", check=False).stdout)
    assert (told["tier"], told["verdict"], told["counted_as"]) == ("refuse", "unavailable", "deny_no_endpoint")
    probe_lab.apply(written("db", outside) + none)
    assert ended(probe_lab, "db", 7000) == "connected", "as soon as somebody is"
