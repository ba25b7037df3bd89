from __future__ import annotations

import logging
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.errors import Rejected
from tidegate.observe.admin import Admin


async def echo(query: Mapping[str, str]) -> Any:
    if "bad" in query:
        raise Rejected("request", "is bad", "ask otherwise")
    return dict(query)


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Any]:
    missing: list[str] = []
    admin = Admin(views={"status": echo}, metrics=lambda: b"one 1\n", ready=lambda: missing, assets={})
    socket = tmp_path / "agent.sock"
    await admin.start(socket, 0, 0, 0)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://agent/{path}") as response:
                return response.status, await response.text()

        yield get, missing
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


async def test_the_level_changes_on_localhost_too(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    admin = Admin(views={"status": echo}, metrics=lambda: b"", ready=list, assets={})
    await admin.start(tmp_path / "agent.sock", port, 0, 0)
    level = logging.getLogger("tidegate").level
    try:
        async with aiohttp.ClientSession() as session:
            for path in ("status", "logging", "logging?level=debug"):
                async with session.get(f"http://127.0.0.1:{port}/{path}") as response:
                    assert response.status == 200
        assert logging.getLogger("tidegate").level == logging.DEBUG
    finally:
        logging.getLogger("tidegate").setLevel(level)
        await admin.stop()
