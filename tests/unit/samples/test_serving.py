"""The HTTP server under every sample: families, keep-alive, chunked bodies, stopping without losing a request."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading

from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.sample_service import Running, Start

HTTPBIN = "httpbin/src/httpbin.py"


def test_one_listener_serves_both_families(start: Start) -> None:
    service = start(HTTPBIN)
    for host in ("127.0.0.1", "::1"):
        connection = service.connect(host)
        connection.request("GET", "/ip")
        assert json.loads(connection.getresponse().read())["peer"] == host
        connection.close()


def test_one_connection_carries_many_requests(start: Start) -> None:
    service = start(HTTPBIN)
    connection = service.connect()
    connection.connect()
    local = connection.sock.getsockname()
    for path in ("/get", "/status/404", "/bytes/100000", "/stream/3", "/status/204"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert not response.will_close, path
        assert connection.sock.getsockname() == local, path
    connection.close()


def test_a_chunked_request_body_arrives_whole(start: Start) -> None:
    service = start(HTTPBIN)
    connection = service.connect()
    connection.request("POST", "/post", body=iter([b"abc", b"d" * 5000]), encode_chunked=True)
    assert json.loads(connection.getresponse().read())["data"] == "abc" + "d" * 5000
    connection.request("GET", "/get")
    assert connection.getresponse().status == 200, "the body was not read to its end"
    connection.close()


def test_head_has_the_length_but_no_body(start: Start) -> None:
    service = start(HTTPBIN)
    status, headers, body = service.ask("/bytes/1234", "HEAD")
    assert (status, headers["content-length"], body) == (200, "1234", b"")


def test_garbage_is_answered_with_400(start: Start) -> None:
    service = start(HTTPBIN)
    with socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\ncontent-length: -7\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 400 ")


def test_health_is_answered_by_the_server_itself(start: Start) -> None:
    service = start(HTTPBIN)
    assert service.json("/health") == {"status": "ok"}


def test_sigterm_finishes_the_request_in_flight_and_closes_idle_connections(start: Start) -> None:
    service = start(HTTPBIN)
    idle = service.connect()
    idle.request("GET", "/get")
    idle.getresponse().read()
    answers: list[int] = []
    busy = service.connect()
    busy.request("GET", "/delay/1")

    def wait() -> None:
        answers.append(busy.getresponse().status)

    waiting = threading.Thread(target=wait)
    waiting.start()
    in_flight(service)
    service.terminate()
    waiting.join(timeout=HANG_SECONDS)
    assert answers == [200]
    assert idle.sock.recv(1) == b""
    busy.close()
    idle.close()


def test_while_draining_an_answer_asks_the_client_to_go_elsewhere(start: Start) -> None:
    service = start(HTTPBIN)
    with socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS) as busy:
        busy.sendall(b"POST /post HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert busy.recv(100).startswith(b"HTTP/1.1 100"), "the request is being answered from here on"
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: draining(service), "it drains")
        busy.sendall(b"ab")
        head = busy.makefile("rb").read().partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200")
    assert b"\r\nconnection: close" in head
    service.terminate()


def draining(service: Running) -> bool:
    """It says so, or has already stopped to listen."""
    try:
        return bool(service.json("/health") == {"status": "draining"})
    except ConnectionRefusedError:
        return True


def in_flight(service: Running) -> None:
    """Return once the service has read what was sent so far: a later request on another connection was answered."""
    probe: http.client.HTTPConnection = service.connect()
    probe.request("GET", "/get")
    probe.getresponse().read()
    probe.close()
