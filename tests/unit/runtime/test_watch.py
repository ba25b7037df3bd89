"""When a directory is looked at: nothing that happens is missed, and nobody looks twice for the same.

What the machine's watch brings is given here (Watch); tests/unit/config/test_files.py has the real one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.runtime import watch
from tidegate.runtime.watch import signs

News = set[tuple[int, str]] | str
CHANGED: News = {(1, "a.yaml")}
QUIET: News = "timeout"


class Watch:
    """In place of RustNotify: what each wait for changes brings, and what became of the watch."""

    waits: ClassVar[Iterator[News]]
    made: ClassVar[list[Watch]]
    refused = 0  # so many watches cannot be had

    def __init__(self, paths: Sequence[str], *_: object) -> None:
        if Watch.refused:
            Watch.refused -= 1
            raise OSError(28, "No space left on device", paths[0])
        self.waited = 0
        self.closed = False
        self.waited_in = threading.Event()
        self._waiting = threading.Lock()
        Watch.made.append(self)

    def watch(self, _debounce: int, _step: int, _timeout: int, stop: threading.Event) -> News:
        with self._waiting:
            self.waited += 1
            self.waited_in.set()
            for news in Watch.waits:
                return news
            stop.wait()
            return "stop"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._waiting.acquire(blocking=False), "closed under somebody who waits"
        self.closed = True


@pytest.fixture(autouse=True)
def _given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RustNotify", Watch)
    monkeypatch.setattr(Watch, "made", [], raising=False)
    monkeypatch.setattr(Watch, "refused", 0)


def bring(monkeypatch: pytest.MonkeyPatch, *news: News) -> None:
    monkeypatch.setattr(Watch, "waits", iter(news), raising=False)


async def test_the_watch_is_in_place_before_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, CHANGED)
    async with aclosing(signs(tmp_path)) as told:  # type: ignore[type-var]
        await anext(told)
        assert [made.waited for made in Watch.made] == [0]
        await anext(told)
        assert [made.waited for made in Watch.made] == [1], "what happened during the first look was missed"


async def test_nobody_looks_again_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at ten thousand files costs a tenth of a second, so the one of the start is not done twice."""
    bring(monkeypatch, *[QUIET] * 7, QUIET, QUIET, CHANGED)
    looks = []
    async with aclosing(signs(tmp_path)) as told:  # type: ignore[type-var]
        for _ in range(3):
            await anext(told)
            looks.append(Watch.made[0].waited)
    assert looks == [0, 8, 10], "one at the start, one each eight ticks in case an event was lost, and one for an event"


async def test_without_a_watch_everything_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's watches are used up (fs.inotify): slower, but not blind."""
    bring(monkeypatch)
    monkeypatch.setattr(watch, "_TICK_MS", 0)
    monkeypatch.setattr(Watch, "refused", 2)
    async with aclosing(signs(tmp_path)) as told:  # type: ignore[type-var]
        for made in (0, 0, 1):
            await anext(told)
            assert len(Watch.made) == made


async def test_the_watch_is_closed_when_nobody_waits_in_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch)
    told = signs(tmp_path)
    await anext(told)
    (made,) = Watch.made
    following = asyncio.ensure_future(anext(told))
    assert await asyncio.to_thread(made.waited_in.wait, HANG_SECONDS)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert made.closed
