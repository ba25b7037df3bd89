"""HTTP through a pod's Envoy beside the same client without it: the mesh is not stricter than no mesh.

Each request is asked of the server itself and of Envoy before it; what the server saw and what the client got must be
the same. What Envoy changes all the same stands in docs/envoy.md, "What no option changes".
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.configs import destination_rule
from tests.support.eventually import HANG_SECONDS
from tests.support.http_origin import OK, Answer, Conversation, Message, Origin, dial
from tests.support.http_pair import meshed, web

WEB = "web.default.svc.cluster.local:80"
# Written by Envoy, or about a single hop: Connection and what it names, and how a body is framed.
OURS = {"x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-upstream-service-time", "date"}
HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"}
BIG = 4_000_000
_LENGTH = b"Content-Length: 2"


def request(first: str, *lines: str, body: bytes = b"", host: str = "Host: web") -> bytes:
    return "\r\n".join(line for line in (first, host, *lines, "", "") if line or line == "").encode("latin-1") + body


def respond(first: bytes, *lines: bytes, body: bytes = b"ok") -> bytes:
    return b"\r\n".join([first, *lines, b"", b""]) + body


def shout(talk: Conversation) -> None:
    """What is behind an upgrade or a tunnel: bytes come back in capitals."""
    while got := talk.sock.recv(4096):
        talk.say(got.upper())
    raise EOFError


def switch(protocol: bytes) -> Answer:
    def answer(talk: Conversation) -> None:
        talk.say(
            respond(b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: " + protocol, body=b"")
        )
        shout(talk)

    return answer


def connect(talk: Conversation) -> None:
    talk.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
    shout(talk)


def refuse_early(talk: Conversation) -> None:
    """Answers before the body is there, and takes no more."""
    talk.say(respond(b"HTTP/1.1 413 Too Large", _LENGTH, b"Connection: close", body=b"no"))
    talk.sock.shutdown(socket.SHUT_WR)
    while talk.sock.recv(1 << 16):
        pass
    raise EOFError


def close_behind(talk: Conversation) -> None:
    talk.say(respond(b"HTTP/1.1 200 OK", b"Content-Length: %d" % BIG, b"Connection: close", body=b"a" * BIG))
    raise EOFError


BROKEN_OFF = threading.Event()


def break_off(begin: bytes) -> Answer:
    def answer(talk: Conversation) -> None:
        talk.say(begin).sock.shutdown(socket.SHUT_RDWR)
        BROKEN_OFF.set()
        raise EOFError

    return answer


def say_nothing(talk: Conversation) -> None:
    talk.read()
    raise EOFError


ANSWERS: dict[str, Answer | bytes] = {
    "/headers": respond(b"HTTP/1.1 200 OK", _LENGTH, *(b"X-%d: y" % n for n in range(150))),
    "/large": respond(b"HTTP/1.1 200 OK", _LENGTH, b"X: " + b"a" * 1_000_000),
    "/trailers": respond(
        b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Trailer: X-End", body=b"2\r\nok\r\n0\r\nX-End: 1\r\n\r\n"
    ),
    "/two-lengths": respond(b"HTTP/1.1 200 OK", _LENGTH, b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    "/hints": respond(b"HTTP/1.1 103 Early Hints", b"Link: </a>", body=OK),
    "/processing": respond(b"HTTP/1.1 102 Processing", body=OK),
    "/reason": respond(b"HTTP/1.1 200 Fine by me", _LENGTH),
    "/status-299": respond(b"HTTP/1.1 299 Odd", _LENGTH),
    "/status-600": respond(b"HTTP/1.1 600 Odder", _LENGTH),
    "/status-999": respond(b"HTTP/1.1 999 Request Denied", _LENGTH),
    "/case": respond(b"HTTP/1.1 200 OK", _LENGTH, b"X-CamelCase: Y", b"ETag: x"),
    "/bytes": respond(b"HTTP/1.1 200 OK", _LENGTH, "X: grüße".encode()),
    "/bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "/unauthorized": respond(b"HTTP/1.1 401 Unauthorized", _LENGTH, b"WWW-Authenticate: Basic"),
    "/early": refuse_early,
    "/shout": switch(b"tcp"),
    "/spdy": switch(b"SPDY/3.1"),
    "/ws": switch(b"websocket"),
    "example.com:443": connect,
    "/close": close_behind,
    "/broken-length": break_off(respond(b"HTTP/1.1 200 OK", b"Content-Length: 10", body=b"abc")),
    "/broken-chunks": break_off(respond(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n")),
    "/silent": say_nothing,
    "/no-content": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "/reset-content": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "/not-modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n",
    "/extensions": respond(b"HTTP/1.1 200 OK", b"Transfer-Encoding: Chunked", body=b"0002;a=b\r\nok\r\n0;x\r\n\r\n"),
    "/two-cookies": respond(b"HTTP/1.1 200 OK", _LENGTH, b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"X: 1", b"X: 2"),
    "/continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "/no": b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
    "/zeros": respond(b"HTTP/1.1 200 OK", b"Content-Length:  0002 "),
    "/of-a-server": respond(b"HTTP/1.1 200 OK", _LENGTH, b"Server: mine", b"Via: x", b'Alt-Svc: h3=":443"'),
    "/trailers-twice": respond(
        b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\nA: 1\r\nA: 2\r\n\r\n"
    ),
    "/upgrade-required": b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
}
CHUNKS = b"3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n"
UPGRADE = "Connection: Upgrade"
REQUESTS = {
    "upgrade to what nobody knows": request("GET / HTTP/1.1", UPGRADE, "Upgrade: TLS/1.2"),
    "upgrade beside a body": request("POST / HTTP/1.1", UPGRADE, "Upgrade: foo", "Content-Length: 3", body=b"abc"),
    "upgrade to h2c": request(
        "POST / HTTP/1.1",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Content-Length: 3",
        body=b"abc",
    ),
    "upgrade that is refused": request("GET /unauthorized HTTP/1.1", UPGRADE, "Upgrade: websocket"),
    "upgrade without connection": request("GET / HTTP/1.1", "Upgrade: foo"),
    "150 headers": request("GET / HTTP/1.1", *(f"X-{n}: y" for n in range(150))),
    "150 headers in the answer": request("GET /headers HTTP/1.1"),
    "a megabyte of header": request("GET / HTTP/1.1", "X: " + "a" * 1_000_000),
    "a long path": request(f"GET /{'a' * 200_000} HTTP/1.1"),
    "a megabyte of header in the answer": request("GET /large HTTP/1.1"),
    "trailers": request("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Trailer: X-End", body=CHUNKS),
    "trailers in the answer": request("GET /trailers HTTP/1.1", "TE: trailers"),
    "both lengths in the answer": request("GET /two-lengths HTTP/1.1"),
    "early hints": request("GET /hints HTTP/1.1"),
    "processing": request("GET /processing HTTP/1.1"),
    "expect": request("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 3", body=b"abc"),
    "expect something odd": request("POST / HTTP/1.1", "Expect: wonders", "Content-Length: 3", body=b"abc"),
    "own method": request("FROBNICATE / HTTP/1.1"),
    "method in lower case": request("get / HTTP/1.1"),
    "GET with a body": request("GET / HTTP/1.1", "Content-Length: 3", body=b"abc"),
    "HEAD": request("HEAD / HTTP/1.1"),
    "TRACE": request("TRACE / HTTP/1.1"),
    "underscores": request("GET / HTTP/1.1", "x_y: 1"),
    "bytes above 127": request("GET / HTTP/1.1", "X: gr\xfc\xdfe"),
    "bytes above 127 in the answer": request("GET /bytes HTTP/1.1"),
    "an empty value": request("GET / HTTP/1.1", "X:"),
    "an odd host": request("GET / HTTP/1.1", host="Host: my_service.example.:1234"),
    "an empty host": request("GET / HTTP/1.1", host="Host:"),
    "a reason": request("GET /reason HTTP/1.1"),
    "status 299": request("GET /status-299 HTTP/1.1"),
    "status 600": request("GET /status-600 HTTP/1.1"),
    "status 999": request("GET /status-999 HTTP/1.1"),
    "upper and lower case": request("GET /case HTTP/1.1", "X-CamelCase: Y", "ACCEPT: */*"),
    "bare line feeds": b"GET /bare-lf HTTP/1.1\nHost: web\n\n",
    "a certificate that a proxy saw": request("GET / HTTP/1.1", "X-Forwarded-Client-Cert: Hash=ab"),
    "early refusal": request("POST /early HTTP/1.1", "Content-Length: 9000000", body=b"a" * 100_000),
    "connection: close": request("GET / HTTP/1.1", "Connection: close"),
    "cookies apart": request("GET / HTTP/1.1", "Cookie: a=1", "Cookie: b=2"),
    "204": request("GET /no-content HTTP/1.1"),
    "205": request("GET /reset-content HTTP/1.1"),
    "304 with a length": request("GET /not-modified HTTP/1.1"),
    "HEAD of a 304": request("HEAD /not-modified HTTP/1.1"),
    "extensions of chunks in the answer": request("GET /extensions HTTP/1.1"),
    "extensions of chunks": request(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b'3;ext="q"\r\nabc\r\n0\r\n\r\n'
    ),
    "cookies and headers twice in the answer": request("GET /two-cookies HTTP/1.1"),
    "100 that nobody wanted": request("GET /continue HTTP/1.1"),
    "expect, and be refused": request("POST /no HTTP/1.1", "Expect: 100-continue", "Content-Length: 3", body=b"abc"),
    "zeros before a length": request("POST / HTTP/1.1", "Content-Length: 003", body=b"abc"),
    "zeros before a length in the answer": request("GET /zeros HTTP/1.1"),
    "what a server says of itself": request("GET /of-a-server HTTP/1.1"),
    "trailers twice": request("GET /trailers-twice HTTP/1.1", "TE: trailers"),
    "426": request("GET /upgrade-required HTTP/1.1"),
    "a host in brackets": request("GET / HTTP/1.1", host="Host: [fd00::1]:80"),
    "a user in front of the host": request("GET / HTTP/1.1", host="Host: a@b"),
    "escapes that are none": request("GET /%zz%2 HTTP/1.1"),
    "an escaped backslash": request("GET /a%5cb HTTP/1.1"),
    "a question mark alone": request("GET /? HTTP/1.1"),
    "quotes in a query": request("GET /?q='<>\" HTTP/1.1"),
    "a long query": request(f"GET /?{'q' * 100_000} HTTP/1.1"),
    "parameters of a path": request("GET /a;b=c/d HTTP/1.1"),
    "ranges": request("GET / HTTP/1.1", "Range: bytes=0-0", "If-Range: x"),
    "names of proxies before": request(
        "GET / HTTP/1.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.9", "Via: 1.1 x"
    ),
    "traces": request("GET / HTTP/1.1", "traceparent: 00-x", "b3: 1"),
    "every character of a method": request("A!#$%&'*+-.^_`|~ / HTTP/1.1"),
    "PROPFIND": request("PROPFIND / HTTP/1.1"),
    "DELETE with a body": request("DELETE / HTTP/1.1", "Content-Length: 3", body=b"abc"),
    "GET with an empty body in chunks": request("GET / HTTP/1.1", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "POST without a length": request("POST / HTTP/1.1"),
    "3 000 headers": request("GET / HTTP/1.1", *(f"H{n}: v" for n in range(3000))),
    "slashes and escapes": request("GET //a//b%2Fc/?x=/../y HTTP/1.1"),
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(ANSWERS) as made:
        yield made


@pytest.fixture(scope="module")
def port(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where Envoy listens for the service."""
    with meshed(tmp_path_factory.mktemp("envoy"), web(origin.port)) as ports:
        yield ports[WEB]


def ask(port: int, raw: bytes) -> list[Message]:
    """The answers to one request: any number of interim ones, then the last."""
    out: list[Message] = []
    with dial(port) as talk:
        with contextlib.suppress(OSError):  # who refuses a request need not take all of it
            talk.say(raw)
        while not out or out[-1].status < 200:
            out.append(talk.message(bodiless=raw.startswith(b"HEAD")))
    return out


def shown(message: Message, *, by_peer: bool) -> tuple[bytes, list[str], bytes, list[bytes]]:
    """What the two ends can see of it: all but what is the proxy's own. by_peer: how its body is framed, too."""
    dropped = OURS | HOP | ({"content-length", "te"} if not by_peer else {"content-length"})
    lines = [line.decode("latin-1").rstrip() for line in message.lines]
    kept = sorted(line for line in lines if line.partition(":")[0].lower() not in dropped)
    return message.first, kept, message.body, [line.lower() for line in message.trailers]


def both(origin: Origin, port: int, raw: bytes) -> tuple[list[object], list[object]]:
    seen: list[list[object]] = []
    for where in (origin.port, port):
        origin.seen.clear()
        answers = ask(where, raw)
        seen.append([*(shown(m, by_peer=True) for m in answers), *(shown(m, by_peer=False) for m in origin.seen)])
    return seen[0], seen[1]


@pytest.mark.case("C1", "C2")
@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_request_has_the_same_answer(name: str, origin: Origin, port: int) -> None:
    direct, through = both(origin, port, REQUESTS[name])
    assert through == direct


@pytest.mark.case("C1")
@pytest.mark.parametrize(
    "raw",
    [
        request("CONNECT example.com:443 HTTP/1.1", host="Host: example.com:443"),
        request("POST /shout HTTP/1.1", UPGRADE, "Upgrade: tcp"),
        request("POST /spdy HTTP/1.1", UPGRADE, "Upgrade: SPDY/3.1"),
        request("GET /ws HTTP/1.1", UPGRADE, "Upgrade: websocket"),
        request("GET /ws HTTP/1.1", UPGRADE, "Upgrade: foo, WebSocket"),
    ],
    ids=["CONNECT", "tcp", "SPDY", "websocket", "several"],
)
def test_a_connection_becomes_another_protocol(raw: bytes, port: int) -> None:
    with dial(port) as talk:
        assert talk.say(raw).head().status == (200 if raw.startswith(b"CONNECT") else 101)
        assert talk.say(b"hello").read(5) == b"HELLO"


@pytest.mark.case("C1")
def test_requests_behind_each_other_are_answered_in_their_order(port: int) -> None:
    asked = [request(f"POST /{n} HTTP/1.1", f"X-Number: {n}", "Content-Length: 3", body=b"abc") for n in range(20)]
    with dial(port) as talk:
        talk.say(b"".join(asked) + request("GET /reason HTTP/1.1"))
        assert [talk.message().first for _ in asked] == [b"HTTP/1.1 200 OK"] * len(asked)
        assert talk.message().first == b"HTTP/1.1 200 Fine by me"


@pytest.mark.case("C1", "C8")
@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/a%2eb", "/a.b"),
        ("/a\\b", "/a/b"),
        ('/a|b{}^`"', "/a%7Cb%7B%7D%5E%60%22"),
        ("/a/./b/..", "/a/"),
        ("/?a=../|b", "/?a=../|b"),
    ],
)
def test_a_path_is_written_as_rules_compare_it(sent: str, seen: str, origin: Origin, port: int) -> None:
    origin.seen.clear()
    ask(port, request(f"GET {sent} HTTP/1.1"))
    assert [m.first for m in origin.seen] == [f"GET {seen} HTTP/1.1".encode()]


@pytest.mark.case("C1")
@pytest.mark.parametrize("first", ["GET /absolute HTTP/1.1", "GET http://web/absolute HTTP/1.1"])
def test_an_absolute_url_is_its_path(first: str, origin: Origin, port: int) -> None:
    origin.seen.clear()
    ask(port, request(first))
    assert [m.first for m in origin.seen] == [b"GET /absolute HTTP/1.1"]


@pytest.mark.case("C1")
@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_http_1_0(lines: tuple[str, ...], origin: Origin, port: int) -> None:
    origin.seen.clear()
    (answer,) = ask(port, request("GET / HTTP/1.0", *lines))
    assert (answer.first, answer.body) == (b"HTTP/1.0 200 OK", b"ok")
    assert origin.seen[0].headers["host"] == "web"


@pytest.mark.case("C1")
def test_a_reader_that_pauses_loses_nothing(port: int) -> None:
    """Envoy ends the connection behind this answer, while much of it waits for the reader."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.settimeout(HANG_SECONDS)
    sock.connect(("127.0.0.1", port))
    with Conversation(sock) as talk:
        talk.say(request("GET /close HTTP/1.1", "Connection: close")).head()
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            # Three seconds of Envoy's clock, which no test can move.
            assert not select.select([nobody], [], [], 3)[0]
        assert len(talk.read()) == BIG


@pytest.mark.case("C1")
@pytest.mark.parametrize("path", ["/broken-length", "/broken-chunks"])
def test_an_answer_that_the_server_broke_off_ends_at_once(path: str, port: int) -> None:
    """The clock is Envoy's: what it does 100 ms later finds the connection closed already."""
    BROKEN_OFF.clear()
    with dial(port) as talk, dial(port) as clock:
        assert talk.say(request(f"GET {path} HTTP/1.1")).head().status == 200
        talk.read(len(b"3\r\nabc\r\n") if path == "/broken-chunks" else 3)
        assert BROKEN_OFF.wait(HANG_SECONDS)
        clock.say(request("GET /silent HTTP/1.1", "x-envoy-upstream-rq-timeout-ms: 100"))
        assert clock.message().status == 504
        assert select.select([talk.sock], [], [], 0)[0], "the connection is still open"
        assert talk.sock.recv(1) == b""


# What security demands, and so differs from a server that would take it.
@pytest.mark.case("C1")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("POST / HTTP/1.1", _LENGTH.decode(), "Transfer-Encoding: chunked", body=CHUNKS), 400),
        (request("GET / HTTP/1.1", host="X: no host"), 400),
        (request("GET / HTTP/1.1", "X: a\0b"), 400),
        (request("GET / HTTP/1.1", host="Host: a/b"), 400),
        (request("GET / HTTP/1.1", host="Host: b\xfccher"), 400),
        (request("GET /a\tb HTTP/1.1"), 400),
        (request("GET * HTTP/1.1"), 400),
        (request("GET / HTTP/1.1", "X" * 1_100_000 + ": a"), 431),
    ],
    ids=["two lengths", "no host", "NUL", "odd host", "host above 127", "tab", "star", "too large"],
)
def test_what_stays_refused(raw: bytes, status: int, origin: Origin, port: int) -> None:
    origin.seen.clear()
    assert [m.status for m in ask(port, raw)] == [status]
    assert origin.seen == []


@pytest.mark.case("C8")
def test_the_server_sees_the_path_that_rules_were_matched_with(origin: Origin, port: int) -> None:
    origin.seen.clear()
    ask(port, request("GET /public/%2e%2e/admin?x=../y HTTP/1.1"))
    assert [m.first for m in origin.seen] == [b"GET /admin?x=../y HTTP/1.1"]


def test_the_client_is_named_behind_those_before_it(origin: Origin, port: int) -> None:
    for sent, want in (
        ((), "127.0.0.1"),
        (("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"), "192.0.2.7,127.0.0.1"),
    ):
        origin.seen.clear()
        ask(port, request("GET / HTTP/1.1", *sent))
        headers = origin.seen[0].headers
        assert headers["x-forwarded-for"] == want
        assert headers["x-forwarded-proto"] == ("https" if sent else "http")
        assert sorted(h for h in headers if h.startswith(("x-tidegate", "x-envoy"))) == []


@pytest.mark.case("C4")
def test_a_server_that_answers_once_for_each_connection_can_be_served(tmp_path: Path) -> None:
    """What comes second on a connection is never answered."""

    def answer_one(talk: Conversation) -> None:
        talk.say(OK).head()
        raise EOFError

    once = destination_rule("once", "web", "trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}")
    with Origin({"/": answer_one}) as origin, meshed(tmp_path, web(origin.port), once) as ports:
        assert [ask(ports[WEB], request("GET / HTTP/1.1"))[0].status for _ in range(20)] == [200] * 20
        assert origin.connections == 20
