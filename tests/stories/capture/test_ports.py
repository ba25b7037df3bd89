"""Which ports of a pod are not its own."""

from __future__ import annotations

import json

import pytest
from tests.support.lab import PROBE, Lab

from tidegate.dataplane.capture import TOP_PORT

# Every port on which a program cannot listen, by protocol and family.
TAKEN = """
import json, socket
taken = {}
for name, family, address in (("4", socket.AF_INET, "0.0.0.0"), ("6", socket.AF_INET6, "::")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        here = taken["%s %s" % ("tcp" if kind == socket.SOCK_STREAM else "udp", name)] = []
        for port in range(1, 65536):
            sock = socket.socket(family, kind)
            try:
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
                sock.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen()
            except OSError:
                here.append(port)
            sock.close()
print(json.dumps(taken))
"""
# It has no connections, whose ports would be taken as well.
FRESH = """
apiVersion: v1
kind: Pod
metadata: { name: fresh }
spec: { containers: [{ name: c, command: ["/bin/sleep", "infinity"] }] }
"""
WANTS_OURS = f"""
apiVersion: v1
kind: Pod
metadata: {{ name: wants-ours }}
spec:
  containers:
    - name: c
      command: ["/usr/bin/python3", "{PROBE}", "serve", "{TOP_PORT}"]
      ports: [{{ containerPort: {TOP_PORT} }}]
      readinessProbe: {{ tcpSocket: {{ port: {TOP_PORT} }}, periodSeconds: 1, timeoutSeconds: 60 }}
"""


# Sockets bound to one source port, connected to several Services over both tiers' families; what each server saw. The
# port is none that the kernel gives to clients, or an earlier connection might have it still.
ONE_SOURCE = """
import json, socket, sys
seen, socks = [], []
for place in sys.argv[1:]:
    host, port, family = place.split(",")
    info = socket.getaddrinfo(host, int(port), socket.AF_INET6 if family == "6" else socket.AF_INET)[0]
    sock = socket.socket(info[0], socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if family == "6" else "0.0.0.0", 21007))
    sock.connect(info[4])
    socks.append(sock)
for sock in socks:
    sock.sendall(b"who\\n")
    answer = json.loads(sock.makefile().readline())
    seen.append([sock.getsockname()[1], sock.getpeername()[1], answer["client"]])
print(json.dumps(seen))
"""
MORE_SERVICES = """
apiVersion: v1
kind: Service
metadata: { name: talk2 }
spec:
  ipFamilyPolicy: PreferDualStack
  selector: { app: talk }
  ports: [{ name: tcp, port: 7000, targetPort: 7001 }, { name: tcp2, port: 7002, targetPort: 7001 }]
"""


@pytest.mark.case("B9")
@pytest.mark.parametrize("family", ["4", "6"])
def test_one_source_port_is_connected_to_several_services(probe_lab: Lab, family: str) -> None:
    probe_lab.apply(MORE_SERVICES)
    try:
        places = [f"{place},{family}" for place in ("talk,7000", "talk2,7000", "talk2,7002")]
        done = probe_lab.exec("client", "/usr/bin/python3", "-c", ONE_SOURCE, *places)
        own = probe_lab.address("default/client", family)
        assert json.loads(done.stdout) == [[21007, 7000, own], [21007, 7000, own], [21007, 7002, own]]
    finally:
        probe_lab.delete(probe_lab.run_dir / "applied-by-test.yaml")


@pytest.mark.case("B10")
def test_one_port_is_ours_and_it_is_none_that_the_kernel_gives_to_clients(probe_lab: Lab) -> None:
    probe_lab.apply(FRESH)
    try:
        done = probe_lab.exec("fresh", "/usr/bin/python3", "-c", TAKEN)
        taken = json.loads(done.stdout)
        assert taken.keys() == {"tcp 4", "tcp 6", "udp 4", "udp 6"}
        assert all(ports == [TOP_PORT] for ports in taken.values()), taken
    finally:
        probe_lab.delete(probe_lab.run_dir / "applied-by-test.yaml")


@pytest.mark.case("B10")
def test_a_port_that_the_pod_declares_is_the_pods(probe_lab: Lab) -> None:
    probe_lab.apply(WANTS_OURS)
    try:
        address = probe_lab.address("default/wants-ours", "4")
        assert probe_lab.dial("client", address, TOP_PORT)["server"]["local"] == address
        assert probe_lab.dial("wants-ours", "talk", 7000)["peer_port"] == 7000
    finally:
        probe_lab.delete(probe_lab.run_dir / "applied-by-test.yaml")
