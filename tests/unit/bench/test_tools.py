"""The C load tools against the C servers, on loopback: what they count and when they refuse to print a number."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bench.loads import BY_NAME, HELLO, HTTP, LOADS, ONCE, SECOND, SINK, Load, figures
from tests.support.certificates import Authority
from tests.support.eventually import HANG_SECONDS, eventually

TOOLS = Path(__file__).resolve().parents[3] / "build" / "bench"
BASE = 18701


def load(tool: str, *words: str | float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / tool, *map(str, words)], capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def counted(tool: str, *words: str | float) -> dict[str, Any]:
    done = load(tool, *words)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    commands: tuple[list[str | Path], ...] = (
        [TOOLS / "l4server", str(BASE)],
        [TOOLS / "httpserver", str(BASE + HTTP), "1024"],
    )
    started = [subprocess.Popen(command) for command in commands]
    for port in (BASE, BASE + 1, BASE + ONCE, BASE + HELLO, BASE + HTTP):
        eventually(lambda port=port: listening(port), f"port {port}")  # type: ignore[misc]
    yield
    for process in started:
        process.kill()
        process.wait(timeout=HANG_SECONDS)


@pytest.mark.parametrize("one", [*LOADS, *BY_NAME], ids=lambda one: one.name)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_load_runs_and_yields_its_metrics(one: Load, host: str) -> None:
    command = one.command(TOOLS, host, BASE + one.port, 0.1)
    values = figures(subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True).stdout)
    for metric in one.metrics:
        assert values[metric.key] > 0


def test_a_round_trip_is_as_long_as_the_peer_takes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def slow_echo() -> None:
            peer, _ = listener.accept()
            with peer:
                waiting = threading.Event()
                while data := peer.recv(64):
                    waiting.wait(0.02)
                    peer.sendall(data)

        thread = threading.Thread(target=slow_echo)
        thread.start()
        value = counted("l4load", "rr", "127.0.0.1", listener.getsockname()[1], 0.3, 64)
        thread.join(timeout=HANG_SECONDS)
    assert 20_000 <= value["p50_us"] <= 2.1 * value["mean_us"]  # half of them take that long, and the rest something
    # Microseconds, and not another unit: of the time, round trips are the most, and never more than all.
    assert 0.1 < value["per_second"] * value["mean_us"] / 1e6 <= 1.01


def test_bulk_counts_what_the_receiver_got() -> None:
    value = counted("l4load", "bulk", "127.0.0.1", BASE + SINK, 0.1)
    assert value["bytes"] > 0
    assert value["gbit_s"] == pytest.approx(value["bytes"] * 8 / value["seconds"] / 1e9, rel=0.01)


def test_connections_leave_no_time_wait_at_the_client() -> None:
    before = time_wait(remote=BASE + ONCE)
    assert counted("l4load", "conn", "127.0.0.1", BASE + ONCE, 0.5)["count"] > 10
    assert time_wait(remote=BASE + ONCE) <= before  # one of an earlier test may have run out meanwhile


def test_a_hello_is_one_that_a_tls_server_goes_on_from(tmp_path: Path) -> None:
    """OpenSSL finds the name and answers with a ServerHello: more than the one byte that the tool expects."""
    pair = Authority().issue(SECOND)
    (tmp_path / "both.pem").write_bytes(pair.certificate + pair.key)
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    context.sni_callback = lambda _, name, __: asked.append(name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                incoming.write(peer.recv(4096))
                with pytest.raises(ssl.SSLWantReadError):
                    server.do_handshake()
                peer.sendall(outgoing.read())

        thread = threading.Thread(target=answer)
        thread.start()
        done = load("l4load", "hello", "127.0.0.1", listener.getsockname()[1], 0.1, SECOND)
        thread.join(timeout=HANG_SECONDS)
    assert asked == [SECOND]
    assert "expected the end of the stream" in done.stderr


@pytest.mark.parametrize("pieces", [[b"\x16\x03", b"\x01\x00\x02a", b"b"], [b"\x16\x03\x01\x00\x00"]])
def test_the_server_answers_a_whole_record_with_a_byte_and_the_end(pieces: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", BASE + HELLO), timeout=HANG_SECONDS) as peer:
        for piece in pieces:
            peer.sendall(piece)
        assert peer.recv(16) == b"\x16"
        assert peer.recv(16) == b""


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_that_does_not_fit_gives_no_number(name: str) -> None:
    assert load("l4load", "hello", "127.0.0.1", BASE + HELLO, 0.1, name).returncode == 1


def time_wait(remote: int) -> int:
    """Sockets in TIME_WAIT whose remote port is this one."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[3] == "06" and int(row.split()[2].partition(":")[2], 16) == remote for row in rows)


@pytest.mark.parametrize("mode", ["bulk", "conn"])
def test_a_peer_that_leaves_at_once_gives_no_number(mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def leave() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=leave)
        thread.start()
        done = load("l4load", mode, "127.0.0.1", listener.getsockname()[1], 0.1)
        thread.join(timeout=HANG_SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


def test_an_echo_that_ends_after_a_byte_gives_no_number() -> None:
    done = load("l4load", "rr", "127.0.0.1", BASE + ONCE, 0.1, 64)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxyz",
        b"",
    ],
    ids=["503", "no length", "too long", "closed"],
)
def test_an_answer_that_is_no_200_gives_no_number(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        done = load("httpload", "127.0.0.1", listener.getsockname()[1], 0.1, 1, "x")
        thread.join(timeout=HANG_SECONDS)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_http_server_answers_pipelined_and_split_requests() -> None:
    with socket.create_connection(("127.0.0.1", BASE + HTTP), timeout=HANG_SECONDS) as peer:
        peer.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r")
        peer.sendall(b"\nGET /3 HTTP/1.1\r\n\r\n")
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3 or not received.endswith(b"x" * 1024):
            received += peer.recv(65536)
        assert received.count(b"content-length: 1024") == 3


def test_nobody_listening_is_an_error_with_the_reason() -> None:
    done = load("l4load", "rr", "127.0.0.1", 1, 0.1, 64)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(
    "words", [("rr", "127.0.0.1", "1", "1"), ("hello", "127.0.0.1", "1", "1"), ("walk", "127.0.0.1", "1", "1"), ()]
)
def test_wrong_usage_exits_2(words: tuple[str, ...]) -> None:
    assert load("l4load", *words).returncode == 2


@pytest.mark.parametrize("text", ["", "[]", '{"mode": "rr", "count": 0}', '{"mode": "bulk", "bytes": 0}'])
def test_output_without_a_count_is_refused(text: str) -> None:
    with pytest.raises((ValueError, AttributeError)):
        figures(text)
