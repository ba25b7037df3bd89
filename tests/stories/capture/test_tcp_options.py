"""What an application sets on its socket holds on the way to the server, through hook and relay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.lab import Lab

# argv: "before" or "after" connect. Prints a line when the echo works, and one when the server was given up.
CLIENT = """
import json, socket, sys
SOON = ((6, 4, 1), (6, 5, 1), (6, 6, 3), (6, 18, 3000), (1, 9, 1))  # KEEPIDLE, -INTVL, -CNT, USER_TIMEOUT, SO_KEEPALIVE
sock = socket.socket()
for option in SOON if sys.argv[1] == "before" else ():
    sock.setsockopt(*option)
sock.connect(("talk", 7000))
for option in SOON if sys.argv[1] == "after" else ():
    sock.setsockopt(*option)
sock.sendall(b"echo\\nhello")
print(sock.recv(64).decode(), flush=True)
try:
    said = sock.recv(64).decode()
except OSError as error:
    said = type(error).__name__
print(json.dumps({"said": said}))
"""


@contextmanager
def silence(lab: Lab) -> Iterator[None]:
    """No packet leaves the server's pod towards the client's any more."""
    route = ("blackhole", f"{lab.address('client', '4')}/32")
    lab.exec("server", "ip", "route", "add", *route)
    try:
        yield
    finally:
        lab.exec("server", "ip", "route", "del", *route)


@pytest.mark.case("B6")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_silent_server_is_given_up_when_the_application_said(probe_lab: Lab, when: str) -> None:
    with probe_lab.start("client", "/usr/bin/python3", "-c", CLIENT, when) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "hello\n", client.stderr.read()
        with silence(probe_lab):
            told = client.stdout.readline()
    assert json.loads(told) == {"said": "ConnectionResetError"}
