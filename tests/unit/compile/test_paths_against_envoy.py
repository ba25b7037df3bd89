"""What Envoy makes of a path, and what `explain` believes that it makes: the same, on paths made by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.support.http_origin import Conversation, Origin, dial
from tests.support.http_pair import meshed, web

from tidegate.compile.explain.requests import bad_path, normal_path

# What paths are taken apart by, and what stands for it.
PIECES = (
    *(
        "/",
        "//",
        ".",
        "..",
        ";",
        "\\",
        "%",
        "?",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "%3b",
        "%00",
        "%7e",
        "%41",
        "%zz",
        "%252e",
    ),
    *(
        "/..;",
        "/.;x",
        "/%2e",
        "/../",
        "..;p=1",
        "a",
        "b=/c",
        "%c3%bc",
        "\u00fc",
        '"',
        "<",
        "|",
        "`",
        "^",
        "{",
        "[",
        "@",
        ":",
    ),
)
KNOWN = ("/x;p=1/..;/strip/y", "/a/..;p/b", "/a/%2e%2e;/b", "/..;/a", "/%2e/.;x\\\\/", "/\\..;pa/..;", "/a%00/../b")
COUNT = 400


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture(scope="module")
def port(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with meshed(tmp_path_factory.mktemp("envoy"), web(origin.port)) as ports:
        yield ports["web.default.svc.cluster.local:80"]


def by_chance() -> Iterator[str]:
    chance = random.Random(20)
    for _ in range(COUNT):
        yield "/" + "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 7)))


def forwarded(origin: Origin, port: int, path: str) -> str:
    """The path that the server saw; empty if Envoy refused it."""
    origin.seen.clear()
    with dial(port) as talk_:
        status = _get(talk_, path)
    assert status == (200 if origin.seen else 400), (path, status)
    return origin.seen[0].first.split(b" ")[1].decode() if origin.seen else ""


def _get(talk: Conversation, path: str) -> int:
    return talk.say(f"GET {path} HTTP/1.1\r\nHost: web\r\n\r\n".encode()).message().status


def expected(path: str) -> str:
    before, mark, query = path.partition("?")
    refused = bad_path(path) or "\u00fc" in query
    return "" if refused else normal_path(before) + mark + query


@pytest.mark.case("C8")
def test_explain_and_envoy_agree_about_paths(origin: Origin, port: int) -> None:
    seen = {path: forwarded(origin, port, path) for path in (*KNOWN, *by_chance())}
    assert {path: got for path, got in seen.items() if got != expected(path)} == {}
    assert seen["/x;p=1/..;/strip/y"] == "/strip/y"
