"""HTTP that lasts: upgrades, bodies without a length, events that trickle, idle connections; old and odd requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.lab import MANIFESTS, ROOT, Lab

STREAMS = ROOT / "tests" / "support" / "streams.py"
PYTHON = ROOT / ".venv" / "bin" / "python"
TOO_LARGE = "HTTP/1.1 431 Request Header Fields Too Large"
MANY = "".join(f"x-{number}: y\r\n" for number in range(110))  # aiohttp itself takes 128
NOT_FOUND = "HTTP/1.1 404 Not Found"
# One request as written, and the first line that comes back.
RAW = """
import contextlib, socket, sys
with socket.create_connection(("streams", 80), 120) as sock:
    with contextlib.suppress(OSError):  # who refuses a request need not take all of it
        sock.sendall(sys.stdin.buffer.read())
    sys.stdout.write(sock.makefile("rb").readline().decode("latin-1").rstrip())
"""


@pytest.fixture(scope="module")
def lab(web_lab: Lab) -> Iterator[Lab]:
    web_lab.apply(MANIFESTS / "streams.yaml")
    yield web_lab
    web_lab.delete(MANIFESTS / "streams.yaml")


def client(lab: Lab, *arguments: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(lab.exec("client", PYTHON, STREAMS, *arguments).stdout)
    return value


def raw(lab: Lab, request: str) -> str:
    return lab.exec("client", "/usr/bin/python3", "-c", RAW, stdin=request).stdout


@pytest.mark.parametrize("port", [80, 81])
def test_websocket(lab: Lab, port: int) -> None:
    got = client(lab, "websocket", f"http://streams:{port}/ws", "3000000")
    assert got == {"sizes": [0, 1, 3_000_000], "said": "still there?"}


@pytest.mark.parametrize("port", [80, 81])
def test_a_chunked_body_of_100_mib_arrives_whole(lab: Lab, port: int) -> None:
    got = client(lab, "upload", f"http://streams:{port}/upload", str(100 << 20))
    assert (got["status"], got["server"]["bytes"], got["server"]["framing"]) == (200, 100 << 20, "chunked")
    assert got["server"]["sha256"] == got["sha256"]


@pytest.mark.parametrize("port", [80, 81])
def test_events_come_when_they_are_sent(lab: Lab, port: int) -> None:
    """None waits for the next one, which the server sends only when the one before has been confirmed."""
    assert client(lab, "events", f"http://streams:{port}", "5") == {"status": 200, "events": list("01234")}


def test_a_connection_that_was_idle_is_used_again(lab: Lab) -> None:
    first, second = client(lab, "idle", "http://streams:81/upload", "3")["ports"]
    assert first == second


def test_the_server_decides_whether_a_body_is_wanted(lab: Lab) -> None:
    head = "POST /upload HTTP/1.1\r\nHost: streams\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert raw(lab, head) == "HTTP/1.1 100 Continue", "before a byte of the body was sent"


@pytest.mark.parametrize(
    ("request_", "first_line"),
    [
        ("GET /absent HTTP/1.0\r\n\r\n", "HTTP/1.0 404 Not Found"),
        ("GET http://streams/absent HTTP/1.1\r\nHost: streams\r\n\r\n", NOT_FOUND),
        ("POST http://elsewhere.example/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK"),
        (
            f"GET / HTTP/1.1\r\nHost: streams\r\nx: {'a' * 1_100_000}\r\n\r\n",
            TOO_LARGE,
        ),
        (f"GET /{'a' * 1_100_000} HTTP/1.1\r\nHost: streams\r\n\r\n", TOO_LARGE),
        ("GET /absent HTTP/1.1\r\nHost: streams\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n", NOT_FOUND),
        (f"GET /absent HTTP/1.1\r\nHost: streams\r\n{MANY}\r\n", NOT_FOUND),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("NONSENSE\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (
            "POST / HTTP/1.1\r\nHost: streams\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
        ),
    ],
    ids=[
        *("http1.0", "absolute", "absolute-other", "headers", "path", "upgrade", "many-headers"),
        *("no-host", "nonsense", "smuggling"),
    ],
)
@pytest.mark.case("C1", "C2")
def test_old_and_odd_requests(lab: Lab, request_: str, first_line: str) -> None:
    assert raw(lab, request_) == first_line
