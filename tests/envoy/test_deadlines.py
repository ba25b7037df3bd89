"""How long a request may take is said by its rule, by grpc-timeout and by x-envoy-... headers; gRPC on any port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import grpc
import pytest
from tests.support.configs import virtual_service
from tests.support.eventually import HANG_SECONDS
from tests.support.http_origin import Conversation, Message, Origin, dial
from tests.support.http_pair import meshed, web

WEB = "web.default.svc.cluster.local:80"
GRPC = "Content-Type: application/grpc"
TWO_SECONDS = virtual_service("web", "web", "- timeout: 2s\n  route: [{destination: {host: web}}]")
AN_HOUR = virtual_service("web", "web", "- timeout: 3600s\n  route: [{destination: {host: web}}]")
MANY = tuple((f"x-{n}", "y") for n in range(150))


@pytest.fixture(scope="module", params=["", TWO_SECONDS], ids=["no rule", "timeout: 2s"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Envoy before a server that never answers."""
    ended = Event()

    def silent(talk: Conversation) -> None:
        ended.wait(HANG_SECONDS)
        raise EOFError

    documents = [request.param] if request.param else []
    with Origin({"/": silent}) as origin:
        with meshed(tmp_path_factory.mktemp("envoy"), web(origin.port), *documents) as ports:
            yield ports[WEB]
        ended.set()


def ask(port: int, *lines: str) -> Message:
    with dial(port) as talk:
        return talk.say("\r\n".join(("GET / HTTP/1.1", "Host: web", *lines, "", "")).encode()).message()


@pytest.mark.case("C3")
def test_grpc_timeout_is_honoured(port: int) -> None:
    """Whether or not a rule would wait for two seconds. Which of the two ended it, Envoy says in different words."""
    answer = ask(port, GRPC, "grpc-timeout: 500m")
    ended = (answer.headers["grpc-status"], answer.headers["grpc-message"])
    assert ended in (("4", "downstream duration timeout"), ("14", "upstream request timeout"))


@pytest.mark.case("C3")
def test_grpc_timeout_is_less_than_the_rules(tmp_path: Path) -> None:
    with Origin() as origin, meshed(tmp_path, web(origin.port), AN_HOUR) as ports:
        for said, limit in (("1800S", "1800000"), ("2H", "3600000")):
            ask(ports[WEB], GRPC, f"grpc-timeout: {said}")
            assert origin.seen[-1].headers["x-envoy-expected-rq-timeout-ms"] == limit


@pytest.mark.case("C3")
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("x-envoy-upstream-rq-timeout-ms: 300",), 504),
        (("x-envoy-upstream-rq-per-try-timeout-ms: 100", "x-envoy-max-retries: 2", "x-envoy-retry-on: 5xx"), 504),
    ],
    ids=["timeout", "tries"],
)
def test_what_istio_lets_applications_say_is_honoured(lines: tuple[str, ...], status: int, port: int) -> None:
    assert ask(port, *lines).status == status


@pytest.mark.case("C3")
@pytest.mark.parametrize("lines", [(), (GRPC,), (GRPC, "grpc-timeout: 1H"), (GRPC, "grpc-timeout: nonsense")])
def test_the_rule_stays_the_limit(lines: tuple[str, ...], tmp_path: Path) -> None:
    def silent(talk: Conversation) -> None:
        talk.read()

    with Origin({"/": silent}) as origin, meshed(tmp_path, web(origin.port), TWO_SECONDS) as ports:
        answer = ask(ports[WEB], *lines)
    assert answer.headers.get("grpc-status") == "14" if lines else answer.status == 504


@contextlib.contextmanager
def grpc_server() -> Iterator[int]:
    """Answers with as many headers and trailers as MANY, and with what it got."""

    def say(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(MANY)
        context.set_trailing_metadata((*MANY, ("x-time-left", "none" if context.time_remaining() is None else "some")))
        got = {str(key) for key, _ in context.invocation_metadata()}
        return request if {key for key, _ in MANY} <= got else b"headers are missing"

    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(say)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Say": method}),))
    try:
        bound = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield bound
    finally:
        server.stop(None).wait()


def call(port: int) -> tuple[bytes, int, int]:
    """A gRPC call with 150 headers; what came back, and how many headers and trailers."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        say: Callable[..., tuple[bytes, grpc.Call]] = channel.unary_unary("/t.T/Say").with_call
        answer, done = say(b"hello", metadata=MANY, timeout=HANG_SECONDS)
        known = {key for key, _ in MANY}
        return answer, *(
            sum(key in known for key, _ in part) for part in (done.initial_metadata(), done.trailing_metadata())
        )  # type: ignore[return-value]


@pytest.mark.case("C2")
@pytest.mark.parametrize("name", ["http", "http2", "grpc"])
def test_grpc_with_many_headers_whatever_the_port_is_called(name: str, tmp_path: Path) -> None:
    with grpc_server() as bound, meshed(tmp_path, web(bound, name)) as ports:
        assert call(ports[WEB]) == call(bound) == (b"hello", 150, 150)
