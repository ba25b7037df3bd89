"""Where a redirect leads, as the real Envoy writes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.configs import virtual_service
from tests.support.http_origin import dial
from tests.support.http_pair import meshed, web

CASES = {
    "{authority: x, port: 80}": "http://x/",
    "{authority: 'x:80'}": "http://x/",
    "{authority: x, port: 8080}": "http://x:8080/",
    "{authority: 'x:1', port: 8080}": "http://x:8080/",
    "{authority: x, scheme: https, port: 443}": "https://x/",
    "{authority: x, derivePort: FROM_REQUEST_PORT}": "http://x/",
    "{scheme: https, port: 443}": "https://web/",
    "{port: 8443, scheme: https}": "https://web:8443/",
    "{authority: 'fd00::1', port: 8080}": "http://[fd00::1]:8080/",
    "{authority: 'fd00::1'}": "http://[fd00::1]/",
    "{authority: '[fd00::1]:80'}": "http://[fd00::1]/",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    rules = "\n".join(
        f"- match: [{{headers: {{case: {{exact: '{number}'}}}}}}]\n  redirect: {written}"
        for number, written in enumerate(CASES)
    )
    with meshed(tmp_path_factory.mktemp("envoy"), web(1), virtual_service("web", "web", rules)) as ports:
        yield ports["web.default.svc.cluster.local:80"]


@pytest.mark.case("C6")
@pytest.mark.parametrize("host", ["web", "web:80"])
@pytest.mark.parametrize("written", CASES)
def test_a_redirect_has_no_default_port(written: str, host: str, port: int) -> None:
    with dial(port) as talk:
        talk.say(f"GET / HTTP/1.1\r\nHost: {host}\r\ncase: {list(CASES).index(written)}\r\n\r\n".encode())
        assert talk.message().headers["location"] == CASES[written]
