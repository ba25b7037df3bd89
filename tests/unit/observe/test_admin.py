from __future__ import annotations

import json
import logging
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidegate.errors import Rejected
from tidegate.observe.admin import Admin
from tidegate.observe.dashboard.assets import assets
from tidegate.settings import ADMIN_PORT

MARKUP = "</script><img src=x onerror=alert(1)>"


async def echo(query: Mapping[str, str]) -> Any:
    if "bad" in query:
        raise Rejected(f"request {query['bad']}", "is bad", "ask otherwise")
    return dict(query)


async def one() -> bytes:
    return b"one 1\n"


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Any]:
    missing: list[str] = []
    admin = Admin(views={"status": echo}, metrics=one, missing=lambda: missing, assets=assets())
    socket = tmp_path / "agent.sock"
    await admin.start(socket, 0, 0, 0)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://agent/{path}") as response:
                return response.status, await response.text()

        yield get, missing
    await admin.stop()


@pytest.fixture
async def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Asks over TCP as a browser would: (status, headers, body) of one request."""
    runners: list[web.BaseRunner] = []

    class AnyPort(web.TCPSite):
        """No number is free for sure on a machine that others use, too."""

        def __init__(self, runner: web.BaseRunner, host: str, port: int) -> None:
            assert (host, port) == ("127.0.0.1", ADMIN_PORT)
            runners.append(runner)
            super().__init__(runner, host, 0)

    monkeypatch.setattr(web, "TCPSite", AnyPort)
    admin = Admin(views={"status": echo}, metrics=one, missing=list, assets=assets())
    await admin.start(tmp_path / "agent.sock", ADMIN_PORT, 0, 0)
    [(_, port)] = runners[0].addresses
    async with aiohttp.ClientSession() as session:

        async def request(path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], str]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            url = f"http://127.0.0.1:{port}{path}"
            async with session.request(method, url, headers=named) as response:
                return response.status, response.headers, await response.text()

        yield request
    await admin.stop()


async def test_views_answer_json_and_refuse_with_the_reason(ask: Any) -> None:
    get, _ = ask
    assert await get("status?a=1") == (200, '{"a": "1"}')
    code, text = await get("status?bad=1")
    assert (code, "is bad; ask otherwise" in text) == (400, True)
    assert (await get("absent"))[0] == 404


async def test_metrics_and_readiness(ask: Any) -> None:
    get, missing = ask
    assert await get("metrics") == (200, "one 1\n")
    assert await get("healthz/ready") == (200, "ready\n")
    missing.append("envoy is starting")
    assert await get("healthz/ready") == (503, "envoy is starting\n")


async def test_a_level_that_is_none_is_refused(ask: Any) -> None:
    get, _ = ask
    assert (await get("logging?level=loud"))[0] == 400
    assert (await get("logging"))[0] == 200


@pytest.mark.parametrize("path", assets())
async def test_the_page_and_its_files_are_served_as_what_they_are(local: Any, path: str) -> None:
    status, headers, body = await local(path)
    assert status == 200
    assert body == assets()[path].body.decode()
    assert headers["Content-Type"] == f"{assets()[path].content_type}; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/absent", "/status?bad=1"])
async def test_whatever_is_answered_may_run_nothing_and_is_not_guessed_at(local: Any, path: str) -> None:
    _, headers, _ = await local(path)
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'", "'self'", "'self'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [f"/status?name={MARKUP}", f"/status?bad={MARKUP}"])
async def test_markup_in_a_value_stays_text_in_json(local: Any, path: str) -> None:
    _, headers, body = await local(path)
    assert headers["Content-Type"].startswith("application/json")
    assert MARKUP in str(json.loads(body))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:45001", "[::1]", "[::1]:15000"])
async def test_names_of_this_machine_are_answered(local: Any, host: str) -> None:
    assert (await local("/status", Host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:15000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", MARKUP],
)
@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/logging?level=debug"])
async def test_a_name_that_was_rebound_to_this_machine_is_refused(local: Any, host: str, path: str) -> None:
    status, headers, _ = await local(path, Host=host)
    assert (status, headers["Content-Type"]) == (421, "text/plain; charset=utf-8")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])  # another port of 127.0.0.1 is same-site
async def test_pages_of_others_may_link_here_but_read_and_change_nothing(local: Any, site: str) -> None:
    for path in ("/status", "/figures", "/logging?level=debug"):
        assert (await local(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors"))[0] == 403
        assert (await local(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate"))[0] == 403
    assert (await local("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="cors"))[0] == 403
    assert (await local("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate"))[0] == 200
    assert (await local("/status", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors"))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(local: Any, method: str) -> None:
    for path in ("/", "/status", "/metrics", "/logging"):
        assert (await local(path, method))[0] == 405


async def test_the_level_changes_on_localhost_too(local: Any) -> None:
    level = logging.getLogger("tidegate").level
    try:
        assert (await local("/logging?level=debug"))[0] == 200
        assert logging.getLogger("tidegate").level == logging.DEBUG
    finally:
        logging.getLogger("tidegate").setLevel(level)
