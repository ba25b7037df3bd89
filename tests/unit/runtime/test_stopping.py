"""Whoever sees a process serve may ask it to stop: from then on it ends in order."""

from __future__ import annotations

import ast
import asyncio
import builtins
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.discovery import serve
from tidegate.runtime.stopping import asked_to_stop

ROOT = Path(__file__).parents[3]
PROGRAMS = [*(ROOT / "agent" / "tidegate").rglob("*.py"), *(ROOT / "lab" / "tidegate_lab").rglob("*.py")]


@pytest.fixture
def strays() -> Iterator[list[int]]:
    """Signals that nobody was there to take: they would have ended the process."""
    taken: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: taken.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield taken
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks(number: int, strays: list[int]) -> None:
    async def ask() -> None:
        stop = asked_to_stop()
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        await stop.wait()

    asyncio.run(ask())
    assert strays == []


def test_who_reads_that_it_serves_may_stop_it_at_once(
    tmp_path: Path, strays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "print", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))

    async def run() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await serve([f"file:{tmp_path}"], "127.0.0.1", 0, tmp_path / "state", "somebody")

    asyncio.run(run())
    assert strays == []


def called(node: ast.AST) -> str:
    """The name of what an assignment calls, "" for everything else."""
    call: Any = getattr(node, "value", None)
    return str(getattr(getattr(call, "func", None), "id", ""))


def test_every_program_listens_before_it_does_anything_else() -> None:
    listening = []
    for path in PROGRAMS:
        text = path.read_text()
        assert "add_signal_handler" not in text or path.name == "stopping.py", path
        if "asked_to_stop()" not in text or path.name == "stopping.py":
            continue
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.AsyncFunctionDef)]
        firsts = [
            called(next((line for line in function.body if not isinstance(line, ast.Expr)), function))
            for function in functions
        ]
        assert firsts.count("asked_to_stop") == text.count("asked_to_stop()") == 1, path
        listening.append(str(path.relative_to(ROOT)))
    assert sorted(listening) == [
        "agent/tidegate/app.py",
        "agent/tidegate/ca/app.py",
        "agent/tidegate/discovery.py",
        "agent/tidegate/gateway/app.py",
        "lab/tidegate_lab/daemon.py",
    ]
