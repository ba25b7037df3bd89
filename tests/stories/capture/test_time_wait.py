"""Clients that close first leave ports in TIME_WAIT; capture must not make those scarcer than they are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab

PORTS = 200
# PORTS / 2 requests, each on a connection of its own, which the client closes first; prints the first error.
CLOSES_FIRST = f"""
import socket
address = socket.getaddrinfo("web", 80, socket.AF_INET6 if FAMILY == 6 else socket.AF_INET, socket.SOCK_STREAM)[0]
for _ in range({PORTS} // 2):
    with socket.socket(address[0]) as client:
        client.connect(address[4])
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
print("done")
"""


@pytest.fixture
def few_ports(web_lab: Lab) -> Iterator[None]:
    """The client pod's kernel chooses source ports from PORTS ports only."""
    netns = web_lab.pods()["default/client"]["netns"]
    knob = "/proc/sys/net/ipv4/ip_local_port_range"

    def in_pod(script: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={netns}", "sh", "-c", script], capture_output=True, text=True, check=True
        ).stdout

    before = in_pod(f"cat {knob}").strip()
    in_pod(f"echo 20000 {20000 + PORTS - 1} > {knob}")
    yield
    in_pod(f"echo {before} > {knob}")


@pytest.mark.usefixtures("few_ports")
@pytest.mark.parametrize("family", [4, 6])
def test_ports_in_time_wait_are_used_again_within_seconds(web_lab: Lab, family: int) -> None:
    """Five times the ports that there are, although each is in TIME_WAIT for a minute."""
    for round_number in range(10):
        script = f"FAMILY = {family}\n" + CLOSES_FIRST

        def done(script: str = script) -> bool:
            said = web_lab.exec("client", "/usr/bin/python3", "-c", script, check=False)
            return said.stdout == "done\n"

        eventually(done, f"round {round_number} finds ports")
