from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import Rejected, Transient, Unreachable
from tidegate_lab import control
from tidegate_lab.control import Progress


async def work(request: Mapping[str, Any], progress: Progress) -> Any:
    progress("half way")
    return {"twice": request["number"] * 2}


async def refuse(request: Mapping[str, Any], progress: Progress) -> Any:
    raise Transient("pods", "not ready", "wait")


async def ask(path: Path, **request: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    server = await control.serve(path, {"work": work, "refuse": refuse})
    try:
        return await asyncio.to_thread(control.call, path, request, said.append), said
    finally:
        server.close()


async def test_results_come_after_progress(tmp_path: Path) -> None:
    assert await ask(tmp_path / "s", do="work", number=21) == ({"twice": 42}, ["half way"])


async def test_errors_arrive_as_they_were_raised(tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        await ask(tmp_path / "s", do="refuse")
    assert (caught.value.subject, caught.value.reason, caught.value.remedy) == ("pods", "not ready", "wait")


async def test_an_unknown_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="dance"):
        await ask(tmp_path / "s", do="dance")


async def test_a_broken_handler_does_not_take_the_server_down(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="KeyError"):
        await ask(tmp_path / "s", do="work")


async def test_only_root_may_ask(tmp_path: Path) -> None:
    server = await control.serve(tmp_path / "s", {})
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    server.close()


def test_a_labd_that_was_killed_is_told_from_a_lab_that_never_was(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "s"))
    with pytest.raises(Unreachable, match=r"labd, which ran it, has ended.*`lab down`"):
        control.call(tmp_path / "s", {"do": "work"}, print)


def test_a_labd_that_says_nothing_is_unreachable(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "s"))
        stopped.listen()
        with pytest.raises(Unreachable, match=r"labd has said nothing for 0\.1 s"):
            control.call(tmp_path / "s", {"do": "work"}, print, silence=0.1)


def test_without_labd_the_lab_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="not running"):
        control.call(tmp_path / "s", {"do": "work"}, print)
